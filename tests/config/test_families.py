"""Sections of families: what is filled in, and what is refused because nothing would read it."""

from __future__ import annotations

import numpy as np
import pytest

from pushforward.config.build import describe_model, resolve
from pushforward.config.presets import preset
from pushforward.config.read import read_config
from pushforward.data.sources import load
from pushforward.errors import UserError


@pytest.fixture(scope="module")
def rows():
    return load(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))


@pytest.fixture(scope="module")
def images():
    return load(np.random.default_rng(0).integers(0, 17, size=(60, 8, 8), dtype=np.uint8))


def config(family, *settings):
    return read_config([preset(None, family)], settings)


@pytest.mark.parametrize(
    ("data", "family", "settings", "said"),
    [
        ("rows", "vae", ("model.samples=5", "model.beta=2"), "model.beta is of the evidence bound"),
        ("rows", "vae", ("model.samples=5", "model.warmup=100"), "model.warmup is of the evidence bound"),
        ("rows", "vae", ("model.samples=5", "model.free_bits=0.1"), "model.free_bits is of the evidence bound"),
        ("rows", "vae", ("model.codebook.count=16",), "model.codebook is of codes"),
        ("rows", "vae", ("model.components=8",), "model.components has no meaning for model.prior=normal"),
        ("rows", "gan", ("model.loss=wasserstein", "model.gamma_end=1"), "wasserstein loss has neither"),
        ("rows", "energy", ("model.blocks=2",), "model.blocks is of networks for images"),
        ("rows", "energy", ("model.multipliers=[1,2]",), "model.multipliers is of networks for images"),
        ("images", "energy", ("model.depth=2",), "model.depth is of networks for vectors"),
        ("rows", "energy", ("model.matching=sliced", "model.sigma_max=9"), "model.matching=sliced adds no noise"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(data, family, settings, said, request):
    with pytest.raises(UserError, match=said):
        resolve(config(family, *settings), request.getfixturevalue(data))


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("vae", ("model.prior=vamp", "model.components=8", "model.samples=5")),
        ("vae", ("model.posterior=codes", "model.codebook.count=16")),
        ("gan", ("model.loss=wasserstein",)),
        ("gan", ("model.gamma=0.01",)),
        ("energy", ("model.matching=sliced",)),
        ("flow", ()),
    ],
)
@pytest.mark.parametrize("data", ["rows", "images"])
def test_what_is_resolved_stays_as_it_is(data, family, settings, request):
    items = request.getfixturevalue(data)
    once = resolve(config(family, *settings), items)
    assert resolve(once, items) == once


def test_the_weight_of_penalties_never_rises(rows):
    for given, first, last in ((None, 0.1, 0.0003), (0.01, 0.01, 0.0003), (1e-4, 1e-4, 1e-4)):
        model = resolve(config("gan", *(() if given is None else (f"model.gamma={given}",))), rows).model
        assert (model.gamma, model.gamma_end) == (first, last)


def test_a_gradient_penalty_has_one_weight(rows):
    model = resolve(config("gan", "model.loss=wasserstein"), rows).model
    assert model.gamma == 10.0 and model.gamma_end is None
    assert "gradient penalty 10.0" in describe_model(model, rows.format)
