"""The whole way: no leak from the test trials, controls at chance, samples that do not depend on their company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pushforward.brain import (
    Components,
    Exact,
    Noised,
    Prior,
    Recording,
    Settings,
    Task,
    Trials,
    decode,
    denoise_from,
    learn,
    noised_levels,
    permuted,
    retrieved,
    study,
)
from pushforward.denoisers import Mixture
from pushforward.errors import UserError
from pushforward.latent import PCA
from pushforward.models.denoising import generator_of
from pushforward.models.latent import Latent
from pushforward.numerics.random import Draws
from pushforward.samplers import default_sampler

QUICK = Settings(samples=4, evaluations=6, components=5, strengths=(0.3, 0.6), permutations=2)


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def components(world):
    return Components.of(world.prior.latents(world.items(500, 9)), 5)


def test_exchanging_the_test_stimuli_changes_nothing_that_is_learned_or_drawn(world, components):
    recording = world.recording(60, 8)
    order = np.array([3, 0, 1, 2, 7, 6, 5, 4])
    other = Recording(recording.train, replace(recording.test, stimuli=recording.test.stimuli[order]))
    found = [study(world.prior, world.items(500, 9), r, QUICK) for r in (recording, other)]
    one, two = (f.learned.decoder.latent for f in found)
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(one.penalties, two.penalties)
    assert found[0].learned.way == found[1].learned.way
    np.testing.assert_array_equal(found[0].decoded.samples, found[1].decoded.samples)
    assert found[0].scores["mean of the samples"].pcc[0] > 0.5 > found[1].scores["mean of the samples"].pcc[0]
    # the control: exchanging training stimuli does change what is learned
    mixed = replace(recording.train, stimuli=recording.train.stimuli[::-1])
    learned = learn(world.prior, mixed, Recording(mixed, recording.test), components, QUICK, quiet)
    assert np.abs(learned.decoder.latent.weights - one.weights).max() > 1e-3


def test_scores_stand_beside_controls_that_are_at_chance(world):
    whole = study(world.prior, world.items(500, 9), world.recording(80, 40), replace(QUICK, permutations=60))
    found, orders = whole.scores, np.array(whole.null.two_way)
    assert abs(orders.mean() - 0.5) < 4 * orders.std(ddof=1) / np.sqrt(60)
    assert orders.max() < 0.8 < found["ridge alone"].identified[0].share
    assert whole.null.two_way_p == pytest.approx(1 / 61)
    two_way = {name: value.identified[0] for name, value in found.items()}
    assert two_way["mean of the samples"].share > 0.9
    assert two_way["mean of the samples"].p_value < 0.01
    assert two_way["mean of the training stimuli"].share == pytest.approx(0.5, abs=0.12)
    assert found["mean of the samples"].mse[0] < found["samples, one by one"].mse[0]


def test_strength_one_forgets_the_guess_and_little_strength_keeps_it(world):
    denoiser, sampler = world.prior.given(None, 1.0), default_sampler(world.prior.generator.model.path, 8, 0.3)
    guess = torch.full((400, 1, 4, 4), 2.0)
    draws = Draws.of(0, range(400))
    kept = denoise_from(denoiser, guess, sampler, 0.02, 8, draws)
    forgotten = denoise_from(denoiser, guess, sampler, 1.0, 8, draws)
    assert float((kept - guess).abs().mean()) < 0.5 * float((forgotten - guess).abs().mean())
    np.testing.assert_allclose(forgotten.mean(0).flatten(), world.mean, atol=0.12)


def test_any_strength_costs_the_same_evaluations(world):
    denoiser, sampler = world.prior.given(None, 1.0), default_sampler(world.prior.generator.model.path, 8, 0.3)
    for strength in (0.1, 0.5, 1.0):
        assert len(noised_levels(denoiser, sampler, strength, 8)) == 9
    starts = [noised_levels(denoiser, sampler, s, 8)[0].sigma for s in (0.1, 0.5, 1.0)]
    assert starts == sorted(starts)
    with pytest.raises(UserError, match="strength"):
        noised_levels(denoiser, sampler, 0.0, 8)


@pytest.mark.parametrize("exact", [False, True])
def test_draws_of_a_trial_do_not_depend_on_the_others(world, components, exact):
    recording = world.recording(60, 6)
    settings = replace(QUICK, exact=exact, strength=None if exact else 0.5, evaluations=60 if exact else 6)
    learned = learn(world.prior, recording.train, recording, components, settings, quiet)
    whole = decode(world.prior, learned, recording.test.voxels, settings)
    small = replace(learned, at_once=5)
    np.testing.assert_allclose(
        decode(world.prior, small, recording.test.voxels, settings).samples, whole.samples, atol=2e-4
    )
    part = decode(world.prior, learned, recording.test.voxels[:2], settings)
    np.testing.assert_allclose(part.samples, whole.samples[:, :2], atol=2e-4)


def test_the_strength_is_low_where_ridge_knows_and_high_where_it_does_not(world, components):
    def best(noise):
        loud = replace(world, noise=noise)
        recording = loud.recording(120, 3)
        settings = replace(QUICK, strengths=(0.05, 0.3, 0.6, 1.0), evaluations=8)
        return learn(loud.prior, recording.train, recording, components, settings, quiet).choice.best

    assert best(0.01) < best(30.0)


def test_regions_feed_the_map_that_they_are_named_for(world, components):
    recording = world.recording(60, 3)
    early = np.arange(40) < 15
    recording = Recording(recording.train, recording.test, {"early": early, "late": ~early})
    settings = replace(QUICK, strength=0.5, latent_regions=("early",))
    learned = learn(world.prior, recording.train, recording, components, settings, quiet)
    assert learned.decoder.latent.weights.shape[0] == 15
    with pytest.raises(UserError, match="no region 'ventral'; the recording has: early, late"):
        recording.voxels_of(["ventral"])


def test_permuted_trials_keep_repeats_together():
    stimuli = np.repeat(np.arange(12.0), 3)[:, None]
    found = permuted(Trials(np.arange(36.0)[:, None], stimuli))
    np.testing.assert_array_equal(found.groups, np.repeat(np.arange(12), 3))
    assert not np.array_equal(found.stimuli, stimuli)
    assert sorted(found.stimuli[:, 0].tolist()) == stimuli[:, 0].tolist()


def test_retrieval_finds_the_picture_that_is_there():
    items = np.random.default_rng(0).normal(size=(50, 1, 4, 4))
    np.testing.assert_allclose(retrieved(3 * items[[7, 2]] + 1, items, 1), items[[7, 2]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v, s: Trials(v, s[:-1]), "10 rows of voxels and 9 stimuli"),
        (lambda v, s: Trials(np.where(np.arange(4) == 2, np.nan, v), s), "voxel 2 of trial 0 .* is nan"),
        (lambda v, s: Trials(v[:, 0], s), r"\(trials, voxels\)"),
        (lambda v, s: Recording(Trials(v, s), Trials(v[:, :3], s)), "4 voxels and test trials 3"),
        (lambda v, s: Recording(Trials(v, s), Trials(v, s), {"none": np.zeros(4, bool)}), "region 'none'"),
    ],
)
def test_wrong_trials_are_named(make, words):
    with pytest.raises(UserError, match=words):
        make(np.ones((10, 4)), np.zeros((10, 4, 4)))


def test_stimuli_of_other_units_or_shapes_are_refused(world):
    recording = world.recording(20, 3)
    with pytest.raises(UserError, match="same units"):
        study(
            world.prior,
            world.items(50, 9),
            replace(recording, test=replace(recording.test, stimuli=recording.test.stimuli * 100)),
        )
    flat = replace(recording.test, stimuli=np.zeros((3, 5)))
    with pytest.raises(UserError, match="trained on"):
        study(world.prior, world.items(50, 9), Recording(replace(recording.train, stimuli=np.zeros((20, 5))), flat))


def test_repeats_are_averaged_and_shared_pictures_counted(world):
    recording = world.recording(6, 2)
    twice = recording.train.take(np.array([0, 1, 2, 0, 1, 2]))
    mean = replace(twice, voxels=twice.voxels + np.array([1, 1, 1, -1, -1, -1])[:, None]).averaged()
    np.testing.assert_allclose(mean.voxels, recording.train.voxels[:3])
    assert Recording(recording.train, recording.train.take([0, 1])).shared == 2
    assert recording.shared == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"evaluations": 0}, "at least 1"),
        ({"permutations": -1}, "at least 0"),
        ({"at_once": 0}, "at once are at least 1"),
        ({"guidance": float("nan")}, "guidance must be a finite number"),
        ({"strength": -1.0}, r"strength of the noise lies in \(0, 1\]"),
        ({"strength": float("nan")}, r"strength of the noise lies in \(0, 1\]"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_any_work(settings, words):
    with pytest.raises(UserError, match=words):
        Settings(**settings)


def test_a_first_stage_that_leads_elsewhere_is_refused(world):
    stage = PCA((1, 4, 4), 6)
    stage.encode = lambda x: stage.code(x).mean
    with pytest.raises(UserError, match=r"latents of shape \(6,\), and the prior is of \(1, 4, 4\)"):
        Prior.of(world.prior.generator, stage)


def test_both_ways_are_usable_alone(world, components):
    recording = world.recording(60, 2)
    settings = replace(QUICK, strength=0.5)
    decoder = learn(world.prior, recording.train, recording, components, settings, quiet).decoder
    task = Task(world.prior, decoder, decoder.components_of(recording.test.voxels), None)
    sampler = default_sampler(world.prior.generator.model.path, 6, 0.3)
    for way in (Noised(0.5, sampler, 6), Exact(60)):
        assert way(task, 3, 0).shape == (3, 2, 1, 4, 4)


def test_the_prior_may_be_a_model_of_latents(world):
    """Ridge goes to the latents of its own first stage, draws are decoded by it."""
    x = world.prior.form.encode(world.items(600, 9))
    stage = PCA((1, 4, 4), 6)
    stage.fit(x)
    codes = stage.code(x)
    flat = codes.mean.double()
    law = Mixture.of_covariances(torch.ones(1).double(), torch.zeros(1, 6).double(), torch.ones(1, 6).double())
    model = Latent(stage, type(world.prior.generator.model)(law, (6,)))
    model.standard.measure([codes])
    torch.testing.assert_close(flat.std(0), model.standard.scale.double().flatten(), rtol=1e-2, atol=1e-3)
    prior = Prior.of(generator_of(model, world.prior.form))
    recording = world.recording(80, 30)
    settings = replace(QUICK, components=6, exact=True, evaluations=60, permutations=0)
    found = study(prior, world.items(300, 9), recording, settings)
    assert found.decoded.samples.shape == (4, 30, 1, 4, 4)
    assert found.scores["mean of the samples"].identified[0].share > 0.9
