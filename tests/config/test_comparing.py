"""The same budget for every family: sizes, trainings, what is not done again."""

from __future__ import annotations

import numpy as np
import pytest

from pushforward.config.build import parameters_of
from pushforward.config.comparing import Budget, compare, configured, sized, widened
from pushforward.config.presets import GENERAL
from pushforward.data.sources import load
from pushforward.errors import UserError

TWO = ("vae", "diffusion")


@pytest.fixture(scope="module")
def items():
    return load(np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32))


@pytest.mark.parametrize("family", GENERAL)
@pytest.mark.parametrize("parameters", [20_000, 60_000])
def test_models_have_the_size_that_was_asked_for(items, family, parameters):
    config = sized(configured(family, Budget(steps=1), 0), items, parameters)
    assert 0.8 * parameters <= parameters_of(config.model, items.format) <= parameters


def test_a_model_of_latents_is_widened_in_its_latents():
    images = load(np.random.default_rng(0).integers(0, 17, size=(60, 8, 8), dtype=np.uint8))
    usual = sized(configured("latent", Budget(steps=1), 0), images, None)
    smallest = parameters_of(widened(usual.model, 1), images.format)
    config = sized(configured("latent", Budget(steps=1), 0), images, smallest + 60_000)
    assert smallest < parameters_of(config.model, images.format) <= smallest + 60_000
    wider = widened(config.model, config.model.inner.network.width + 1)
    assert parameters_of(wider, images.format) > smallest + 60_000
    assert config.model.first_stage == usual.model.first_stage


def test_families_are_trained_alike_and_what_is_done_is_not_done_again(items, tmp_path):
    said = []
    budget = Budget(steps=3, parameters=20_000)
    ask = {"families": TWO, "seeds": (0, 1), "number": 30, "settings": ["training.batch_size=16"], "device": "cpu"}
    first = compare(items, tmp_path, budget, tell=said.append, **ask)
    assert first.families == list(TWO) and first.seeds == [0, 1] and len(first.contenders) == 4
    assert [one.split(":")[0] for one in said] == [
        "vae, seed 0",
        "diffusion, seed 0",
        "vae, seed 1",
        "diffusion, seed 1",
    ]
    assert all(one.steps == 3 and one.parameters <= 20_000 for one in first.contenders)
    assert all(np.isfinite(one.likelihood.nats) and one.likelihood.bits is None for one in first.contenders)
    said.clear()
    again = compare(items, tmp_path, budget, tell=said.append, **ask)
    assert said == [] and again == first
    (tmp_path / "vae-1" / "contender.json").unlink()
    third = compare(items, tmp_path, budget, tell=said.append, **ask)
    assert len(said) == 1 and third.contenders[2].likelihood == first.contenders[2].likelihood


def test_another_seed_is_another_model(items, tmp_path):
    budget = Budget(steps=2, parameters=20_000)
    found = compare(items, tmp_path, budget, families=("vae",), seeds=(0, 1), number=30, device="cpu")
    first, second = found.contenders
    assert first.likelihood.nats != second.likelihood.nats
    # another number of samples is another score of the same run
    said = []
    other = compare(items, tmp_path, budget, families=("vae",), seeds=(0, 1), number=40, device="cpu", tell=said.append)
    assert len(said) == 2 and [one.evaluation.n for one in other.contenders] == [40, 40]
    assert other.contenders[0].likelihood == first.likelihood


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"families": ("vae", "ve")}, "no family 've'"),
        ({"families": ("vae", "vae")}, "the family vae was given twice"),
        ({"families": ()}, "at least one family"),
        ({"seeds": ()}, "at least one seed"),
        ({"number": 0}, "at least 1; got 0"),
        ({"number": -4}, "at least 1; got -4"),
    ],
)
def test_mistakes_are_told(items, tmp_path, ask, said):
    with pytest.raises(UserError, match=said):
        compare(items, tmp_path, Budget(steps=1), **ask)


def test_budgets_have_one_length_and_room_for_a_model(items):
    for wrong in ({}, {"minutes": 1.0, "steps": 3}):
        with pytest.raises(UserError, match="one of the two"):
            Budget(**wrong)
    for wrong in ({"minutes": -1.0}, {"minutes": float("nan")}, {"minutes": float("inf")}, {"steps": 0}, {"steps": -3}):
        with pytest.raises(UserError, match="a training takes a positive number of"):
            Budget(**wrong)
    with pytest.raises(UserError, match="at least 100 parameters"):
        Budget(steps=1, parameters=5)
    with pytest.raises(UserError, match="smallest model"):
        sized(configured("vae", Budget(steps=1), 0), items, 20)
