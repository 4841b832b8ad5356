"""The checks of T22 hold, and fail where something wrong is put in their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pushforward.brain import GaussianLaw, denoise_from, fit_ridge, gaussian_posterior
from pushforward.metrics.identification import identify
from pushforward.verification import brain
from pushforward.verification.brain import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_holds(check):
    row = check()
    assert row.passed, row


def test_a_penalty_in_other_units_is_found():
    def other(x, y, groups, penalties):
        return fit_ridge(x, y, groups, penalties=[2 * p for p in penalties])

    assert brain.ridge(other) > 1e-3


def test_a_posterior_that_forgets_the_prior_is_found():
    def flat(prior, measured, said):
        return gaussian_posterior(GaussianLaw(prior.mean, 1e6 * np.eye(3)), measured, said)

    assert brain.closed_form(flat) > 1e-2


def test_noise_stated_too_small_is_found():
    assert brain.draws(0.25).error > 6


def test_a_guess_that_is_noised_less_is_found():
    def less(denoiser, guess, sampler, strength, evaluations, draws):
        return denoise_from(denoiser, guess, sampler, strength / 2, evaluations, draws)

    assert brain.noised(less) > 1e-2


def test_another_number_of_ways_is_found():
    assert brain.identified(lambda likeness, ways, shuffles: replace(identify(likeness, 2, shuffles=1))) > 1e-2
