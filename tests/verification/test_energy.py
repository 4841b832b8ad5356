"""The rows on energies fail where something wrong is put in the place of what they check."""

from __future__ import annotations

import pytest

from pushforward.energy import DenoisingAt, Unadjusted
from pushforward.verification import energy
from pushforward.verification.energy import CHECKS


def tolerance(beginning: str) -> float:
    return next(check.tolerance for check in CHECKS if check.name.startswith(beginning))


def test_what_denoising_finds_is_not_the_data_s_own():
    wrong = energy.recovered(DenoisingAt(0.3), energy.PRECISION, energy.all_noises)
    assert abs(wrong) > 1e6 * tolerance("an energy network by denoising")


def test_a_score_that_is_shifted_is_seen():
    assert energy.network_gradient(0.1) > tolerance("the score of an energy")


def test_a_chain_without_the_test_is_seen():
    assert energy.invariant(Unadjusted(0.08)).error > tolerance("MALA leaves")


@pytest.mark.parametrize("rungs", [2])
def test_too_few_rungs_are_seen(rungs):
    assert abs(energy.log_z(8, 100, rungs).error) > tolerance("log Z by annealed")
