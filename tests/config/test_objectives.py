"""Losses, learned variances and loss-aware times by name: what contradicts, what is learned, what is resumed."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.config.build import build_model, describe_model, hollow_model, resolve
from pushforward.config.samplers import SAMPLERS, build_sampler
from pushforward.denoisers import BetaVariance, LearnedVariance, ScaledVariance
from pushforward.errors import Interrupted, UserError
from pushforward.models.decoder import decoder_of
from pushforward.models.denoising import generator_of
from pushforward.numerics.random import Draws
from pushforward.objectives import BoundLoss, DiscretisedGaussian, HybridLoss, gaussian_density
from pushforward.paths.times import Stratified
from pushforward.training import Observer, find_checkpoint
from pushforward.training.variances import VARIANCE, variances_on

TINY = ("model.network=mlp", "model.network.width=16", "training.batch_size=64", "training.ema_lengths=[0.1]")
COSINE = ("model.path=ddpm", "model.path.schedule=cosine", "model.path.levels=4", "model.prediction=noise")
RHO = 0.9


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """4,000 items of a correlated normal law: given x_t, a coordinate is known better than its own law says."""
    z = np.random.default_rng(0).normal(size=(4000, 2))
    path = tmp_path_factory.mktemp("gaussian") / "values.npy"
    np.save(path, (z @ np.linalg.cholesky([[1, RHO], [RHO, 1]]).T).astype(np.float32))
    return path


def resolved(data, *settings, preset=None):
    return resolve(pf.configure(*TINY, *settings, preset=preset), data).model


@pytest.mark.parametrize(
    ("settings", "preset", "says"),
    [
        (("model.learned_variance=true",), None, "model.loss=simple trains no variance"),
        (("model.loss=hybrid", "model.learned_variance=false"), None, "model.learned_variance is false"),
        (("model.loss=bound", "model.times=log-normal"), None, "model.times=log-normal is a law of the simple"),
        (("model.loss=hybrid",), "flow-matching", "model.times=logit-normal is a law of the simple"),
        (("model.loss=hybrid", "model.weighting=p2"), "ddpm", "model.weighting=p2 is a weighting of the simple"),
        (("model.loss=bound", "model.times=uniform"), "flow-matching-ot", "model.coupling is assignment"),
        (("model.loss=hybrid", "model.network=dit"), None, "model.network is dit"),
        (("model.loss=bound", "model.path.zero_terminal_snr=true"), "ddpm", "noise says nothing of the data"),
        (("model.loss=bound", "model.path=straight", "model.prediction=score"), None, "score says nothing of the data"),
    ],
)
def test_what_contradicts_is_refused_in_one_sentence(gaussian, settings, preset, says):
    with pytest.raises(UserError, match=says) as told:
        resolved(pf.dataset(str(gaussian)), *settings, preset=preset)
    assert str(told.value).count("set ") + str(told.value).count("leave ") >= 1  # it says what to do


@pytest.mark.parametrize("preset", ["edm", "ddpm", "cosine-v", "vp", "ncsn"])
@pytest.mark.parametrize("loss", ["bound", "hybrid"])
@pytest.mark.parametrize("times", ["uniform", "loss-aware"])
def test_every_path_has_a_bound_to_descend(gaussian, preset, loss, times):
    data = pf.dataset(str(gaussian))
    section = resolved(data, f"model.loss={loss}", f"model.times={times}", "model.learned_variance=true", preset=preset)
    model = build_model(section, data.format)
    assert isinstance(model.descends, HybridLoss if loss == "hybrid" else BoundLoss)
    assert isinstance(model.denoiser(), LearnedVariance) and model.tells_variance
    assert isinstance(model.variance, BetaVariance if preset == "ddpm" else ScaledVariance)
    losses = model.loss("loss", data.train.batch(torch.arange(64)), Draws.of(0, range(64)))
    losses.mean().backward()
    assert losses.shape == (64,) and bool(losses.isfinite().all())
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    shapes = {n: t.shape for n, t in hollow_model(section, data.format).state_dict().items()}
    assert shapes == {n: t.shape for n, t in model.state_dict().items()}
    assert f"{loss} loss" in describe_model(section, data.format)
    generator = generator_of(model, data.format)
    for name in ("ddpm", "analytic-ddim"):
        assert not SAMPLERS[name].lacks_variance(model)
        sampler = build_sampler(name, model, 5)
        assert np.isfinite(generator.sample(3, steps=5, sampler=sampler).values).all()
    assert SAMPLERS["analytic-optimal"].lacks_variance(model)


def exact_variance(values, level):
    """Of one coordinate of x_0 given x_t, averaged over both, for normal data of these values' covariance."""
    precision = torch.linalg.inv(torch.cov(values.double().T)) + (level.alpha / level.sigma) ** 2 * torch.eye(2)
    return float(torch.linalg.inv(precision).diagonal().mean())


@pytest.fixture(scope="module")
def learned(gaussian, tmp_path_factory):
    settings = (*TINY, *COSINE, "model.loss=bound", "model.learned_variance=true", "model.network.depth=1")
    more = ("training.learning_rate=1e-2", "training.warmup_steps=10", "training.batch_size=256")
    config, out = pf.configure(*settings, *more, "training.validate_every=500"), tmp_path_factory.mktemp("learned")
    return pf.fit(str(gaussian), out / "run", config, steps=500, device="cpu", observers=[])


def test_the_learned_variance_is_the_true_one(learned):
    """And what a table would be estimated as; it begins half-way between the published ones, at half of the truth."""
    model, values = learned.generator.model, learned.data().train.all().values
    table = variances_on(model, learned.data().train)
    for k in (2, 3):
        level = model.path.level(k / 4)
        noisy = model.path.mix(values, Draws.of(1, range(len(values))).normal((2,)), level)
        with torch.no_grad():
            found = float(model.denoiser()(noisy, level).var.mean())
            begun = float(model.variance(level, torch.zeros(1, 2)).mean())
        exact = exact_variance(values, level)
        assert abs(begun / exact - 1) > 0.35
        assert found == pytest.approx(exact, rel=0.25)
        assert found == pytest.approx(table.var(level), rel=0.35)


def test_samplers_use_the_learned_variance_and_estimate_none(learned):
    generator, model = learned.generator, learned.generator.model
    calls = []
    handle = model.network.register_forward_hook(lambda *_: calls.append(1))
    values = generator.sample(256, steps=4, sampler=build_sampler("ddpm", model, 4)).values
    handle.remove()
    assert len(calls) == 4
    assert not (learned.path / VARIANCE).exists()
    assert np.corrcoef(values.T)[0, 1] > 0.5
    analytic = generator.sample(4, steps=4, sampler=build_sampler("analytic-ddpm", model, 4)).values
    large = generator.sample(4, steps=4, sampler=build_sampler("ddpm-large", model, 4)).values
    assert np.allclose(analytic, values[:4], atol=1e-5) and abs(large - analytic).max() > 1e-3


class StopAt(Observer):
    def step(self, event):
        if event.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)


def contents(run):
    found = find_checkpoint(run, "last")
    return {(group, name): tensor for group in found.groups for name, tensor in found.tensors(group).items()}


@pytest.mark.parametrize("loss", ["simple", "hybrid"])
def test_loss_aware_times_are_resumed_to_the_bit(gaussian, tmp_path, loss):
    settings = (*TINY, *COSINE, f"model.loss={loss}", "model.times=loss-aware", "training.log_every=5")
    config = pf.configure(*settings, "training.validate_every=4")
    pf.fit(str(gaussian), tmp_path / "whole", config, steps=10, device="cpu", observers=[])
    with pytest.raises(Interrupted):
        pf.fit(str(gaussian), tmp_path / "cut", config, steps=10, device="cpu", observers=[StopAt()])
    pf.fit(str(gaussian), tmp_path / "cut", config, steps=10, device="cpu", observers=[])
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert int(whole["model", "times.seen"].sum()) == 10 * 64  # every training item once, no held-out one


def test_held_out_items_are_met_by_times_that_do_not_move(gaussian):
    data = pf.dataset(str(gaussian))
    model = build_model(resolved(data, "model.times=loss-aware", preset="vp"), data.format)
    batch, draws = data.train.batch(torch.arange(64)), Draws.of(0, range(64))
    model.eval()
    before = model.loss("loss", batch, draws)
    model.train()
    for i in range(30):
        model.loss("loss", batch, Draws.of(i, range(64)))
        model.after_step(lambda value: value)
    assert float(model.times.probabilities().max()) > 1.5 / 64
    model.eval()
    assert torch.equal(model.loss("loss", batch, draws), before)
    assert isinstance(model._times()[0], Stratified)


def test_a_run_of_before_these_settings_is_continued(gaussian, tmp_path):
    config = pf.configure(*TINY, "training.validate_every=4")
    run = pf.fit(str(gaussian), tmp_path / "run", config, steps=4, device="cpu", observers=[])
    identity = json.loads((run.checkpoint.path / "state.json").read_text())["identity"]["model"]
    assert not {"loss", "learned_variance"} & identity.keys()
    assert identity["times"] == "log-normal"
    assert pf.fit(str(gaussian), tmp_path / "run", config, steps=6, device="cpu", observers=[]).outcome.step == 6


def test_decoders_follow_the_levels_of_the_data():
    digits = pf.dataset("digits").format
    assert decoder_of(digits) == DiscretisedGaussian(bins=17)
    rng = np.random.default_rng(0)
    assert decoder_of(pf.dataset(rng.normal(size=(40, 3))).format) is gaussian_density
    assert decoder_of(pf.dataset(rng.random((40, 8, 8)).astype(np.float32)).format) is gaussian_density


def test_the_cells_of_whole_numbers_share_all_mass_and_real_columns_keep_densities(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.stack((rng.integers(0, 7, 60), rng.normal(size=60)), 1)
    rows[:7, 0] = range(7)
    (tmp_path / "t.csv").write_text("count,size\n" + "\n".join(f"{int(a)},{b:.17g}" for a, b in rows))
    form = pf.dataset(str(tmp_path / "t.csv")).format
    x = form.encode(np.stack((np.arange(7), np.linspace(-1, 1, 7)), 1).astype(float)).double()
    mean, sd = torch.tensor([[0.2, 0.3]], requires_grad=True), torch.tensor([[0.4, 0.5]], requires_grad=True)
    log_p = decoder_of(form)(x, mean.expand(7, 2), sd.expand(7, 2))
    assert float(log_p[:, 0].detach().exp().sum()) == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(log_p[:, 1], gaussian_density(x, mean.expand(7, 2), sd.expand(7, 2))[:, 1])
    log_p.sum().backward()
    assert bool(mean.grad.isfinite().all()) and bool(sd.grad.isfinite().all())
