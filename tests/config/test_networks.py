"""Networks by name: what each makes of images and of vectors, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from pushforward.config.families.diffusion import build_network, resolve_for
from pushforward.config.read import read_config
from pushforward.errors import UserError


def section(*settings):
    return read_config([], settings).model


@pytest.mark.parametrize(
    ("kind", "shape", "more"),
    [
        ("unet", (1, 8, 8), ("model.network.width=8", "model.network.recompute=true")),
        ("magnitude-unet", (2, 8, 8), ("model.network.width=8",)),
        ("dit", (1, 8, 8), ("model.network.width=16", "model.network.depth=1")),
        ("dit", (8,), ("model.network.width=16", "model.network.depth=1")),
        ("sequence-unet", (9,), ("model.network.width=8",)),
        ("mlp", (5,), ("model.network.width=8",)),
    ],
)
def test_a_named_network_takes_items_of_its_shape(kind, shape, more):
    config = resolve_for(section(f"model.network={kind}", *more), shape, 0.5)
    net = build_network(config.network, shape, 3)
    x = torch.zeros(2, *shape)
    assert net(x, torch.zeros(2), torch.tensor([0, 3])).shape == x.shape
    assert resolve_for(config, shape, 0.5) == config and config.sigma_data == 0.5


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        ("magnitude-unet", (5,), "model.network=sequence-unet where the numbers of an item follow"),
        ("sequence-unet", (1, 8, 8), "a U-Net of sequences needs vectors"),
        ("mlp", (1, 8, 8), "an MLP needs vectors"),
        ("dit", (1, 7, 8), "patches of 2 do not fill"),
    ],
)
def test_a_network_for_other_items_is_refused_with_one_that_fits(kind, shape, words):
    with pytest.raises(UserError, match=words):
        resolve_for(section(f"model.network={kind}"), shape, 0.5)


def test_sections_within_a_latent_model_have_their_defaults_when_its_family_is_named():
    model = section(
        "model=latent", "model.first_stage.width=8", "model.inner.network=dit", "model.inner.network.patch=1"
    )
    assert model.first_stage.kind == "kl" and model.first_stage.width == 8
    assert model.inner.network.kind == "dit" and model.inner.network.patch == 1
    model = section("model=latent", "model.first_stage=pca", "model.first_stage.components=5", "model.inner=flow")
    assert model.first_stage.components == 5 and model.inner.family == "flow"
    with pytest.raises(UserError, match=r"model.first_stage.codes is a setting where model.first_stage.kind is vq"):
        section("model=latent", "model.first_stage.codes=5")
