"""What all families share: densities over classes, generators, and what families without a way are told."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.errors import UserError
from pushforward.models.family import Density, HasDensity
from pushforward.models.scoring import ByModel
from pushforward.numerics.random import Draws

SHARES = torch.tensor([0.25, 0.75])
X = torch.tensor([[0.0], [1.0], [3.0]])


class TwoNormals:
    """N(0, 1) for class 0, N(2, 1) for class 1; told with an error of 0.1 and 0.2."""

    discrete = False

    def density(self, x, labels, draws):
        nats = -0.5 * (x[:, 0] - 2.0 * labels).square() - 0.5 * math.log(2 * math.pi)
        return Density(nats, 0.1 + 0.1 * labels.double(), "closed form", "two normals")


def log_normal(x, mean):
    return -0.5 * (x - mean) ** 2 - 0.5 * math.log(2 * math.pi)


def draws():
    return Draws.of(0, range(len(X)))


def test_the_density_of_items_without_a_class_is_the_mixture_of_the_classes():
    assert isinstance(TwoNormals(), HasDensity)
    rule = ByModel(TwoNormals(), shares=SHARES)
    found = rule(X, torch.arange(3), draws(), 1)
    for i, x in enumerate(X[:, 0].tolist()):
        parts = [0.25 * math.exp(log_normal(x, 0.0)), 0.75 * math.exp(log_normal(x, 2.0))]
        assert float(found.nats[i]) == pytest.approx(math.log(sum(parts)), abs=1e-6)
        error = math.hypot(0.1 * parts[0], 0.2 * parts[1]) / sum(parts)
        assert float(found.standard_error[i]) == pytest.approx(error, rel=1e-6)
    assert rule.evaluations == 2 and found.of == "two normals, summed over classes"


def test_items_are_scored_under_their_own_classes():
    labels = torch.tensor([1, 0, 1])
    rule = ByModel(TwoNormals(), labels)
    rows = torch.tensor([2, 0])
    found = rule(X[rows], rows, draws(), 1)
    assert found.nats.tolist() == pytest.approx([log_normal(3.0, 2.0), log_normal(0.0, 2.0)], abs=1e-6)
    assert rule.evaluations == 1


def test_a_family_that_draws_at_once_is_told_so_by_name(vae_generator):
    for way, said in (({"steps": 5}, "steps"), ({"guidance": 2.0}, "guidance"), ({"sampler": object()}, "a sampler")):
        with pytest.raises(UserError, match=f"VAE.*{said} was given"):
            vae_generator.sample(2, **way)


def test_samples_of_any_family_do_not_depend_on_their_batch(vae_generator):
    whole = vae_generator.sample(5, seed=3)
    parts = vae_generator.sample(5, seed=3, batch_size=2)
    later = vae_generator.sample(2, seed=3, first=3)
    assert abs(whole.values - parts.values).max() < 1e-5
    assert abs(whole.values[3:] - later.values).max() < 1e-5


@pytest.fixture
def vae_generator():
    import numpy as np

    from pushforward.config.build import build_model, resolve
    from pushforward.config.read import validate
    from pushforward.data.sources import load
    from pushforward.models.denoising import generator_of

    items = load(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    config = resolve(validate({"model": {"family": "vae", "hidden": [8]}}), items)
    return generator_of(build_model(config.model, items.format), items.format)
