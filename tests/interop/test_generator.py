"""A pipeline as a model in the user's own form: the same samples, told and guided alike, a prior for decoding."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pushforward import api
from pushforward.brain import Recording, Settings, Trials
from pushforward.data.format import Format
from pushforward.data.labels import Labels
from pushforward.data.pixels import Layout, Pixels
from pushforward.errors import UserError
from pushforward.interop import DiffusersNetwork, Pipeline, as_generator, read_schedule
from pushforward.interop.modules import Autoencoder

SCHEDULE = read_schedule({"_class_name": "DDIMScheduler", "clip_sample": False})


class UNet2DConditionModel(nn.Module):
    """Named and called as diffusers calls its own: the noise is x plus what the context says."""

    def __init__(self, channels: int = 1, side: int = 8):
        super().__init__()
        self.config = {"in_channels": channels, "sample_size": side, "cross_attention_dim": 2}
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, time, encoder_hidden_states, return_dict=False):
        told = encoder_hidden_states.mean((1, 2))[:, None, None, None]
        return (self.weight * x - told,)


class DiTTransformer2DModel(nn.Module):
    """Of three classes; class 3 is none."""

    def __init__(self):
        super().__init__()
        self.config = {"in_channels": 1, "sample_size": 8, "num_embeds_ada_norm": 3}
        self.shift = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0, 5.0]))

    def forward(self, x, timestep, class_labels, return_dict=False):
        return (0.5 * x - self.shift[class_labels][:, None, None, None],)


class Halving(nn.Module):
    """An autoencoder as diffusers': pictures of three channels from latents of one, of half the size."""

    def __init__(self):
        super().__init__()
        self.config = {"scaling_factor": 0.5}
        self.weight = nn.Parameter(torch.ones(()))

    def encode(self, x):
        return SimpleNamespace(latents=nn.functional.avg_pool2d(x.mean(1, keepdim=True), 2) * self.weight)

    def decode(self, z):
        return SimpleNamespace(sample=nn.functional.interpolate(z, scale_factor=2.0).expand(-1, 3, -1, -1))


def pixels(channels, side, labels=None):
    shape = (side, side) if channels == 1 else (side, side, channels)
    layout = Layout.PLANE if channels == 1 else Layout.LAST
    assert len(shape) == (2 if channels == 1 else 3)
    return Format(Pixels((channels, side, side), layout, "float32", -1.0, 1.0, False), labels)


@pytest.fixture
def told():
    return Pipeline(DiffusersNetwork(UNet2DConditionModel()), SCHEDULE)


def test_samples_are_those_of_the_pipeline_in_the_form_of_the_data(told):
    context, empty = torch.full((3, 4, 2), 0.3), torch.zeros(1, 4, 2)
    generator = as_generator(told, pixels(1, 8), nothing={"context": empty}).given(context=context)
    for weight in (1.0, 3.0):
        theirs = told.sample(3, steps=5, seed=1, conditions={"context": context}, guidance=weight,
                             nothing={"context": empty.expand(3, -1, -1)})  # fmt: skip
        ours = generator.sample(3, steps=5, seed=1, guidance=weight)
        assert ours.values.shape == (3, 8, 8)
        np.testing.assert_allclose(ours.values, theirs[:, 0].numpy(), atol=1e-5)
    free = as_generator(told, pixels(1, 8), nothing={"context": empty})
    theirs = told.sample(3, steps=5, conditions={"context": empty.expand(3, -1, -1)})
    np.testing.assert_allclose(free.sample(3, steps=5).values, theirs[:, 0].numpy(), atol=1e-5)
    with pytest.raises(UserError, match="attends to tokens"):
        as_generator(told, pixels(1, 8)).sample(1)
    with pytest.raises(UserError, match="what stands for no context"):
        as_generator(told, pixels(1, 8)).given(context=context).sample(3, guidance=2.0)
    with pytest.raises(UserError, match=r"have the shape \(1, 9, 9\), and the pipeline makes \(1, 8, 8\)"):
        as_generator(told, pixels(1, 9))


def test_classes_keep_the_numbers_of_the_pipeline_and_its_own_no_class():
    pipe = Pipeline(DiffusersNetwork(DiTTransformer2DModel()), SCHEDULE)
    generator = as_generator(pipe, pixels(1, 8, Labels(("ant", "bee", "cat"), False)))
    assert generator.format.label_names == ("0", "1", "2")  # the user's names say nothing of the pipeline's classes
    x = torch.zeros(2, 1, 8, 8)
    guided = generator.conditioned(torch.tensor([0, 2]), 2.0)(x, 0.5)
    plain, free = (pipe.denoiser.given(label=torch.tensor(c))(x, 0.5) for c in ([0, 2], [3, 3]))
    torch.testing.assert_close(guided.mean, 2 * plain.mean - free.mean)


def test_a_pipeline_of_latents_decodes_with_its_own_units():
    pipe = Pipeline(DiffusersNetwork(UNet2DConditionModel(1, 4)), SCHEDULE, Autoencoder(Halving()))
    context = torch.zeros(2, 4, 2)
    generator = as_generator(pipe, pixels(3, 8)).given(context=context)
    theirs = pipe.sample(2, steps=4, conditions={"context": context})
    ours = generator.sample(2, steps=4)
    np.testing.assert_allclose(ours.values, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_a_pipeline_is_the_prior_of_decoding_told_what_ridge_says(told, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(40, 8, 8)).astype(np.float32)
    context = rng.normal(size=(40, 4, 2))
    voxels = np.concatenate([x.reshape(40, -1) @ rng.normal(size=(64, 9)), context.reshape(40, -1)], 1)
    trials = [
        Trials(voxels[rows], x[rows], conditions={"context": context[rows]}) for rows in (range(32), range(32, 40))
    ]
    settings = Settings(samples=2, evaluations=3, components=4, strength=0.5, permutations=0)
    found = api.brain(told, Recording(*trials), settings, items=x)
    assert found.decoded.samples.shape == (2, 8, 1, 8, 8)
    np.testing.assert_allclose(found.decoded.told["context"], context[32:], atol=0.5)
    with pytest.raises(UserError, match="no pictures stored with it"):
        api.brain(told, Recording(*trials), settings)
    np.savez(tmp_path / "x.npz", x=x)
    again = api.brain(told, Recording(*trials), settings, items=tmp_path / "x.npz")
    np.testing.assert_allclose(again.decoded.samples, found.decoded.samples, atol=1e-5)


class UNet2DModel(nn.Module):
    """Takes one channel to denoise and two of an image."""

    def __init__(self):
        super().__init__()
        self.config = {"in_channels": 3, "out_channels": 1, "sample_size": 8}
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, time, return_dict=False):
        return (self.weight * (x[:, :1] - x[:, 1:2] + x[:, 2:]),)


def test_a_network_that_takes_more_than_it_gives_is_told_an_image():
    network = DiffusersNetwork(UNet2DModel()).requires_grad_(False)
    assert network.shape == (1, 8, 8) and network.accepts == ("image",)
    pipe = Pipeline(network, SCHEDULE)
    x, image = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8), torch.linspace(2, -1, 256).reshape(2, 2, 8, 8)
    told = pipe.denoiser.given(image=image)(x, 0.5)
    torch.testing.assert_close(told.noise, x - image[:, :1] + image[:, 1:])
    with pytest.raises(UserError, match="an image of 2 channels beside what it denoises, and none was given"):
        pipe.sample(1)
    with pytest.raises(UserError, match=r"\(1, 8, 8\) was given"):
        pipe.denoiser.given(image=image[:, :1])(x, 0.5)
