"""Every name of a sampler makes samples with every preset's model, or says why not."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.config.build import build_model, describe_model, hollow_model, human_count, resolve
from pushforward.config.presets import presets_of
from pushforward.config.samplers import SAMPLERS, build_sampler
from pushforward.denoisers.variance import VarianceTable
from pushforward.errors import UserError
from pushforward.models.denoising import generator_of
from pushforward.numerics.random import Draws
from pushforward.objectives import (
    P2,
    EDMWeighting,
    LikelihoodWeighting,
    MinSNR,
    data_weighting,
    noise_weighting,
    velocity_weighting,
)
from pushforward.paths import VP
from pushforward.samplers.step import move_is_random


@pytest.fixture(scope="module")
def items():
    values = torch.linspace(-2, 2, 120).reshape(40, 3).numpy() ** 3
    return pf.dataset(values)


VARIANCE = VarianceTable((-3.0, 0.0, 3.0), (0.3, 0.4, 0.9))


@pytest.mark.parametrize("preset", presets_of("diffusion"))
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_with_every_preset(items, preset, name):
    config = resolve(pf.configure("model.network=mlp", "model.network.width=8", preset=preset), items)
    generator = generator_of(build_model(config.model, items.format), items.format, VARIANCE)
    sampler = build_sampler(name, generator.model, 6, VARIANCE)
    try:
        samples = generator.sample(3, steps=6, sampler=sampler)
    except UserError as error:
        assert "α" in str(error), error  # the straight path starts at α = 0, where some rules have no meaning
        assert preset.startswith("flow-matching")
    else:
        assert samples.values.shape == (3, 3)
        again = generator.sample(2, steps=6, sampler=sampler, first=1)
        assert abs(again.values - samples.values[1:]).max() < 1e-3


OF_ARRAYS = [name for family in ("diffusion", "flow", "vae", "gan", "energy") for name in presets_of(family)]
"""The presets of families that model an array as it is: no column of categories, no response."""


@pytest.mark.parametrize("preset", OF_ARRAYS)
def test_a_model_without_its_numbers_is_that_of_the_preset(items, preset):
    config = resolve(pf.configure(preset=preset), items)
    hollow, model = hollow_model(config.model, items.format), build_model(config.model, items.format)
    assert {n: t.shape for n, t in hollow.state_dict().items()} == {n: t.shape for n, t in model.state_dict().items()}
    assert all(p.device.type == "meta" for p in hollow.parameters())


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("noise", noise_weighting),
        ("data", data_weighting),
        ("v", velocity_weighting),
        ("edm", EDMWeighting(1.5)),
        ("min-snr", MinSNR(5.0)),
        ("p2", P2()),
        ("likelihood", LikelihoodWeighting(VP())),
    ],
)
def test_weightings_by_name(items, name, rule):
    """But for one factor they are the published ones: that factor makes the mean over training times one."""
    settings = (f"model.weighting={name}", "model.sigma_data=1.5", "model.network=mlp", "model.network.width=8")
    config = resolve(pf.configure(*settings, preset="vp"), items)
    model = build_model(config.model, items.format)
    levels = [model.path.level(t) for t in (0.1, 0.5, 0.9)]
    ratios = [model.descends.weighting(level, model.prediction) / rule(level, model.prediction) for level in levels]
    assert ratios == pytest.approx(ratios[:1] * 3, rel=1e-9)
    t = model.times(model.path, Draws.of(0, range(20_000))).t
    weights = torch.as_tensor(model.descends.weighting(model.path.level(t), model.prediction), dtype=torch.float64)
    assert float(weights.expand(len(t)).mean()) == pytest.approx(1.0, rel=0.02)
    assert name in describe_model(config.model, items.format)


@pytest.mark.parametrize("name", SAMPLERS)
def test_names_say_what_samplers_do(items, name):
    model = build_model(resolve(pf.configure("model.network=mlp", "model.network.width=8"), items).model, items.format)
    entry, network = SAMPLERS[name], Counted(model.network)
    model.network = network
    generator = generator_of(model, items.format, VARIANCE)
    sampler = build_sampler(name, model, 24, VARIANCE)
    generator.sample(2, steps=24, sampler=sampler)
    assert entry.adaptive or 22 <= network.calls <= 24
    if not entry.adaptive:
        moves = sampler.step.plan(model.path, sampler.grid(model.path, 8))
        assert any(map(move_is_random, moves)) == entry.random


class Counted(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, *args, **conditions):
        self.calls += 1
        return self.inner(*args, **conditions)


def test_a_sampler_that_needs_the_variance_says_so(items):
    model = build_model(resolve(pf.configure("model.network=mlp", "model.network.width=8"), items).model, items.format)
    with pytest.raises(UserError, match=r"with_variance"):
        build_sampler("analytic-ddpm", model, 3)


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'heun'"):
        build_sampler("heum", None, 3)


def test_resolving_twice_changes_nothing(items):
    once = resolve(pf.configure(), items)
    assert resolve(once, items) == once and once.model.network.kind == "mlp" and once.training.steps == 6000
    assert once.model.sigma_data == pytest.approx(1.0, abs=0.05) and not once.model.conditional


@pytest.mark.parametrize(("network", "needs"), [("unet", "images"), ("custom", "name")])
def test_a_network_that_does_not_fit_the_data_is_refused(items, network, needs):
    with pytest.raises(UserError, match=needs):
        resolve(pf.configure(f"model.network={network}"), items)


def test_the_size_of_a_model_is_that_of_the_model(items):
    config = resolve(pf.configure("model.network.width=16"), items)
    size = sum(p.numel() for p in build_model(config.model, items.format).network.parameters())
    assert f"diffusion of {human_count(size)} parameters" in describe_model(config.model, items.format)
    assert [human_count(n) for n in (999, 1500, 2_000_000, 3e9)] == ["999", "1.5 k", "2 M", "3 G"]


def test_weights_depend_on_the_seed_alone(items):
    config = resolve(pf.configure("model.network.width=8"), items)
    before = torch.random.get_rng_state()
    first, second, other = (build_model(config.model, items.format, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n": 2, "steps": 2.5}, "the number of steps must be a whole number; got 2.5"),
        ({"n": 2, "steps": 0}, "the number of steps must be at least 1; got 0"),
        ({"n": 2, "sampler": "ddim"}, "a sampler is an object such as .* got 'ddim'"),
    ],
)
def test_what_is_no_number_of_steps_and_no_sampler_is_refused(items, wrong, said):
    config = resolve(pf.configure("model.network=mlp", "model.network.width=8"), items)
    generator = generator_of(build_model(config.model, items.format), items.format)
    with pytest.raises(UserError, match=said):
        generator.sample(**wrong)
