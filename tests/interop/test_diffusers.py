"""Against diffusers itself: equal outputs and equal images, there and back."""

from __future__ import annotations

import json

import pytest
import torch

from pushforward.denoisers import NetworkDenoiser, NoisePrediction
from pushforward.denoisers.precondition import EDMPrediction, log_noise
from pushforward.errors import UserError
from pushforward.interop import (
    DiffusersNetwork,
    Scheduler,
    TableNetwork,
    read_autoencoder,
    read_network,
    read_pipeline,
    read_schedule,
    write_pipeline,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, Table, linear_betas
from pushforward.samplers import DDIM, Sampler, simulate

diffusers = pytest.importorskip("diffusers", reason="pip install 'pushforward[diffusers]'")


def unet(**settings):
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **settings,
    )
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    return unet()


def images(pipe, seed=0, **settings):
    """Pictures (n, C, H, W) in [0, 1] of a pipeline of diffusers, from a known start."""
    pipe.set_progress_bar_config(disable=True)
    given = pipe(batch_size=3, generator=torch.Generator().manual_seed(seed), output_type="np", **settings).images
    return torch.from_numpy(given).permute(0, 3, 1, 2)


def noise(seed=0, shape=(3, 2, 8, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shown(x):
    return (x / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
        {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False},
    ],
    ids=lambda settings: "-".join(settings) or "default",
)
def test_a_pipeline_saved_there_gives_equal_images_here(network, tmp_path, settings):
    pipe = diffusers.DDIMPipeline(network, diffusers.DDIMScheduler(**settings))
    pipe.save_pretrained(tmp_path / "pipe")
    theirs = images(pipe, num_inference_steps=20)
    read = read_pipeline(tmp_path / "pipe")
    ours = shown(read.sample(3, steps=20, sampler=read.published(), start=noise()))
    assert float((ours - theirs).abs().max()) < 1e-4
    assert float(theirs.std()) > 0.05


def test_a_pipeline_written_here_gives_equal_images_there(network, tmp_path):
    path = Table.of_betas(linear_betas())
    denoiser = NetworkDenoiser(
        path, DiffusersNetwork(network), NoisePrediction(), read_schedule({"_class_name": "DDIMScheduler"}).time
    )
    write_pipeline(denoiser, tmp_path / "ours")
    theirs = images(diffusers.DiffusionPipeline.from_pretrained(tmp_path / "ours"), num_inference_steps=20)
    read = read_pipeline(tmp_path / "ours")
    ours = shown(simulate(denoiser, DDIM, noise(), read.published().grid(path, 20), Draws.of(0, range(3))))
    assert float((ours - theirs).abs().max()) < 1e-4
    with pytest.raises(UserError, match="is there already"):
        write_pipeline(denoiser, tmp_path / "ours")


def test_a_network_trained_here_runs_there(tmp_path):
    """As the engine calls it, c_in x_t and ¼ log(σ/α), a table network answers as its network does there."""
    path = Table.of_betas(linear_betas())
    prediction = NoisePrediction(0.4)
    trained = TableNetwork(unet(num_class_embeds=3), path, prediction)
    denoiser = NetworkDenoiser(path, trained, prediction, accepts=("label",))
    label = torch.tensor([0, 1, 2])
    level = path.level(0.35)
    found = denoiser.given(label=label).estimate(noise(1), level).noise
    with torch.no_grad():
        expected = trained.inner.module(noise(1), torch.tensor(349), class_labels=label).sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    write_pipeline(denoiser, tmp_path / "trained")
    again = read_pipeline(tmp_path / "trained").denoiser.given(label=label).estimate(noise(1), level).noise
    torch.testing.assert_close(again, found, rtol=1e-4, atol=1e-4)


def test_edm_and_its_euler(network, tmp_path):
    path, prediction = EDM(0.002, 80.0), EDMPrediction(0.6)
    denoiser = NetworkDenoiser(path, DiffusersNetwork(network), prediction, log_noise)
    write_pipeline(denoiser, tmp_path / "edm")
    scheduler = diffusers.EDMEulerScheduler.from_pretrained(tmp_path / "edm" / "scheduler")
    scheduler.set_timesteps(12)
    x = noise() * 80.0
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
    levels = [*path.levels((scheduler.sigmas[:-1].double() / 80.0).clamp(path.t_min, 1.0)), path.level(0.0)]
    ours = simulate(read_pipeline(tmp_path / "edm").denoiser, DDIM, noise() * 80.0, levels, Draws.of(0, range(3)))
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_flow_matching(network, tmp_path):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(10)
    network.save_pretrained(tmp_path / "net")
    read = read_network(tmp_path / "net", {"_class_name": "FlowMatchEulerDiscreteScheduler", **dict(scheduler.config)})
    x, sigmas = noise(), scheduler.sigmas.double()
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
    ours = simulate(read.denoiser, DDIM, noise(), read.schedule.path.levels(sigmas), Draws.of(0, range(3)))
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_a_conditional_unet_and_guidance(tmp_path):
    torch.manual_seed(1)
    net = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).eval()
    net.save_pretrained(tmp_path / "net")
    read = read_network(tmp_path / "net", {"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear"})
    x, context, empty = noise(0, (2, 4, 8, 8)), noise(1, (2, 5, 6)), torch.zeros(2, 5, 6)
    level = read.schedule.path.level(0.5)
    bound = read.conditioned({"context": context}, {"context": empty}, 3.0)
    with torch.no_grad():
        one, none = (net(x, 499, encoder_hidden_states=c).sample for c in (context, empty))
    torch.testing.assert_close(bound.estimate(x, level).noise, none + 3 * (one - none), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="no condition 'label'; it was trained with: context"):
        read.denoiser.given(label=torch.zeros(2))


def test_a_transformer_with_a_learned_variance(tmp_path):
    torch.manual_seed(2)
    net = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=2, out_channels=4, num_layers=1, sample_size=8,
        patch_size=2, num_embeds_ada_norm=5, norm_num_groups=2,
    ).eval()  # fmt: skip
    net.save_pretrained(tmp_path / "net")
    read = read_network(tmp_path / "net", {"_class_name": "DDIMScheduler"})
    x, label = noise(0, (3, 2, 8, 8)), torch.tensor([0, 4, 5])
    found = read.denoiser.given(label=label).estimate(x, read.schedule.path.level(0.8)).noise
    with torch.no_grad():
        expected = net(x, timestep=torch.full((3,), 799), class_labels=label).sample[:, :2]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (read.network.num_classes, read.network.shape) == (5, (2, 8, 8))


def test_an_autoencoder_as_first_stage(tmp_path):
    torch.manual_seed(3)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=3, sample_size=16, scaling_factor=0.5,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    vae.save_pretrained(tmp_path / "vae")
    read, x = read_autoencoder(tmp_path / "vae"), noise(0, (2, 3, 16, 16))
    with torch.no_grad():
        z = vae.encode(x).latent_dist.mode()
        torch.testing.assert_close(read.encode(x), 0.5 * z, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(read.decode(0.5 * z), vae.decode(z).sample, rtol=1e-5, atol=1e-5)


def test_an_autoencoder_of_other_latents_is_refused_when_the_folder_is_read(network, tmp_path):
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=3,
        down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",),
    )  # fmt: skip
    diffusers.DDIMPipeline(network, diffusers.DDIMScheduler()).save_pretrained(tmp_path / "pipe")
    vae.save_pretrained(tmp_path / "pipe" / "vae")
    index = tmp_path / "pipe" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"vae": ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(UserError, match="latents of 3 channels, and its UNet2DModel denoises 2"):
        read_pipeline(tmp_path / "pipe")


def test_our_sampler_inside_their_pipeline(network):
    pipe = diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(clip_sample=False))
    pipe.scheduler = Scheduler.of(pipe.scheduler.config)
    theirs = images(pipe, num_inference_steps=12)
    schedule = read_schedule({"_class_name": "DDPMScheduler", "clip_sample": False})
    denoiser = NetworkDenoiser(schedule.path, DiffusersNetwork(network), schedule.prediction, schedule.time)
    sampler: Sampler = pipe.scheduler.rule(12)
    ours = shown(sampler.sample(denoiser, noise(), 12, Draws.of(0, range(3))))
    assert float((ours - theirs).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block_out_channels": [8, 24]}, "do not fit the model|describes"),
        ({"block_out_channels": [512, 512]}, "describes a model of"),
        ({"down_block_types": ["Nonsense", "DownBlock2D"]}, "describes no UNet2DModel"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights(network, tmp_path, change, words):
    network.save_pretrained(tmp_path / "net")
    path = tmp_path / "net" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=words):
        read_network(tmp_path / "net", {"_class_name": "DDIMScheduler"})


def test_what_diffusers_has_no_form_for_is_refused(network, tmp_path):
    with pytest.raises(UserError, match="no architecture like Linear"):
        write_pipeline(NetworkDenoiser(EDM(), torch.nn.Linear(2, 2), NoisePrediction()), tmp_path / "out")
    with pytest.raises(UserError, match="no scheduler for NoisePrediction on EDM"):
        write_pipeline(NetworkDenoiser(EDM(), DiffusersNetwork(network), NoisePrediction()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
