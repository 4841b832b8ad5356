"""Real conditions decoded from voxels of their own: the prior is told what ridge says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pushforward.brain import Components, Prior, Recording, Settings, Trials, decode, learn, permuted, study
from pushforward.brain.files import Reading, read_recording
from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.denoisers import DataPrediction
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.family import Denoising
from pushforward.numerics.broadcast import expand
from pushforward.paths import VP

SIDE, OWN = 4, 0.05
"""Pictures are a map of a vector, and noise of deviation `OWN` in each pixel."""
MAP = torch.from_numpy(np.random.default_rng(5).normal(size=(3, SIDE * SIDE)) * 0.15).float()


@dataclass(frozen=True, eq=False)
class Given(Denoiser):
    """x = vᵀM + OWN z: told v it knows all but the noise, untold that E v = 0."""

    path: VP
    vector: Tensor | None = None

    def estimate(self, x, level):
        told = self.vector is not None
        mean = (self.vector @ MAP if told else torch.zeros(len(x), SIDE * SIDE)).reshape(x.shape).to(x)
        variance = OWN**2 if told else OWN**2 + float(MAP.square().sum(0).mean())
        alpha, sigma = (expand(value, x) for value in (level.alpha, level.sigma))
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        return Estimate.of_mean(x, level, mean + gain * (x - alpha * mean))

    def given(self, **conditions):
        if set(conditions) - {"vector", "dropped"}:
            raise UserError(f"no condition {set(conditions)}")
        if conditions["vector"].shape[1:] != (3,):
            raise UserError(f"expected (B, 3); got {tuple(conditions['vector'].shape)}")
        return replace(self, vector=conditions["vector"])

    def rows(self, index):
        return self if self.vector is None else replace(self, vector=self.vector[index])


class ToldVectors(Denoising):
    conditions = ("vector",)

    def __init__(self):
        super().__init__((1, SIDE, SIDE))
        self.network, self.path, self.prediction = nn.Linear(1, 1), VP(), DataPrediction(0.3)

    def denoiser(self):
        return Given(self.path)

    def objectives(self):
        return {}

    def loss(self, objective, batch, draws):
        raise NotImplementedError

    def draw(self, draws, labels=None):
        raise NotImplementedError


def items(count, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 3))
    x = vectors @ MAP.numpy() + OWN * rng.normal(size=(count, SIDE * SIDE))
    return x.reshape(count, SIDE, SIDE), vectors


def trials(count, seed, **known):
    """Ten voxels that see the picture badly, six that see the vector well."""
    stimuli, vectors = items(count, seed)
    see = np.random.default_rng(6).normal(size=(SIDE * SIDE, 10)), np.random.default_rng(7).normal(size=(3, 6))
    rng = np.random.default_rng(seed + 100)
    bad = stimuli.reshape(count, -1) @ see[0] + 6 * rng.normal(size=(count, 10))
    good = vectors @ see[1] + 0.02 * rng.normal(size=(count, 6))
    given = {"conditions": {"vector": vectors}} | known
    return Trials(np.concatenate([bad, good], 1), stimuli, **given)


@pytest.fixture(scope="module")
def prior():
    form = Format(Pixels((1, SIDE, SIDE), Layout.PLANE, "float64", -1.0, 1.0, False))
    return Prior.of(DiffusionGenerator(ToldVectors(), form))


REGIONS = {"bad": np.arange(16) < 10, "good": np.arange(16) >= 10}
QUICK = Settings(samples=8, evaluations=8, components=3, latent_regions=("bad",), condition_regions=("good",))
QUICK = replace(QUICK, strengths=(0.3, 1.0), permutations=0)


@pytest.mark.parametrize("exact", [False, True])
def test_what_the_second_group_says_reaches_the_picture(prior, exact):
    settings = replace(QUICK, exact=exact, evaluations=40 if exact else 8)
    told = Recording(trials(80, 1), trials(12, 2), REGIONS)
    untold = Recording(trials(80, 1, conditions={}), trials(12, 2, conditions={}), REGIONS)
    own, without = (study(prior, items(200, 9)[0], r, settings) for r in (told, untold))
    truth = items(12, 2)[1]
    np.testing.assert_allclose(own.decoded.told["vector"], truth, atol=0.15)
    assert not without.decoded.told
    error, other = (s.scores["mean of the samples"].mse[0] for s in (own, without))
    assert error < 0.2 * other
    # the picture given v is known but for OWN; the mean of eight draws adds an eighth of it: in units of range² = 4
    if not exact:
        assert error == pytest.approx(OWN**2 * (1 + 1 / 8) / 4, rel=0.3)
    assert own.scores["permuted trials, mean of the samples"].mse[0] > 3 * error


def test_conditions_stay_with_their_pictures_and_are_held_out_with_them(prior):
    whole = trials(24, 1)
    mixed = permuted(whole)
    flat = mixed.stimuli.reshape(24, -1)
    np.testing.assert_allclose(flat, mixed.conditions["vector"] @ MAP.numpy(), atol=6 * OWN)
    assert not np.array_equal(mixed.stimuli, whole.stimuli)
    np.testing.assert_array_equal(whole.take([3, 1]).conditions["vector"], whole.conditions["vector"][[3, 1]])
    components = Components.of(prior.latents(items(100, 9)[0]), 3)
    learned = learn(prior, whole, Recording(whole, trials(4, 2), REGIONS), components, QUICK, lambda _: None)
    held = learned.decoder.held_out_conditions()["vector"]
    assert held.shape == (24, 3)
    fitted = learned.decoder.conditions(whole.voxels)["vector"]
    truth = torch.from_numpy(whole.conditions["vector"])
    assert float((held - truth).square().mean()) > float((fitted - truth).square().mean())
    found = decode(prior, learned, trials(4, 2).voxels, QUICK)
    assert found.told["vector"].shape == (4, 3)


def test_conditions_are_read_by_the_name_that_the_prior_has(prior, tmp_path):
    one = trials(12, 1)
    np.savez(tmp_path / "t.npz", voxels=one.voxels, stimuli=one.stimuli, vector=one.conditions["vector"])
    read = read_recording(tmp_path / "t.npz", Reading(told=prior.told))
    both = np.concatenate([read.train.conditions["vector"], read.test.conditions["vector"]])
    assert sorted(both[:, 0].tolist()) == sorted(one.conditions["vector"][:, 0].tolist())
    rows = [one.stimuli.tolist().index(picture.tolist()) for picture in read.test.stimuli]
    np.testing.assert_array_equal(read.test.conditions["vector"], one.conditions["vector"][rows])
    halves = {"voxels_train": one.voxels, "voxels_test": one.voxels[:3], "stimuli_train": one.stimuli}
    halves |= {"stimuli_test": one.stimuli[:3], "captions": one.conditions["vector"]}
    np.savez(tmp_path / "u.npz", **halves)
    named = read_recording(tmp_path / "u.npz", Reading({"vector_train": "captions"}, told=prior.told))
    np.testing.assert_array_equal(named.train.conditions["vector"], one.conditions["vector"])
    assert not named.test.conditions


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"conditions": {"vector": np.zeros((7, 3))}}, "8 rows of voxels and 7 vector"),
        ({"conditions": {"vector": np.full((8, 3), np.nan)}}, "'vector' .* is finite numbers"),
        ({"conditions": {"text": np.zeros((8, 3))}}, "condition 'text', and the prior was trained with: vector"),
        ({"conditions": {"vector": np.zeros((8, 5))}}, r"cannot be told vector of shape \(5,\)"),
    ],
)
def test_conditions_that_do_not_fit_are_named(prior, known, words):
    with pytest.raises(UserError, match=words):
        study(prior, items(20, 9)[0], Recording(trials(8, 1, **known), trials(3, 2), REGIONS), QUICK)


def test_guidance_without_anything_decoded_is_refused_and_not_left_out(prior):
    bare = Recording(trials(12, 1, conditions={}), trials(3, 2, conditions={}), REGIONS)
    with pytest.raises(UserError, match="guidance 2 needs a condition"):
        study(prior, items(20, 9)[0], bare, replace(QUICK, guidance=2.0))


def test_a_prior_that_is_bound_already_is_refused(prior):
    bound = prior.generator.given(vector=torch.zeros(1, 3))
    with pytest.raises(UserError, match="decoded from the voxels"):
        Prior.of(bound)
