"""The rows of T26 hold, and see what is put wrong (the energies also in tests/plugplay)."""

import pytest

from pushforward.plugplay import uniform
from pushforward.verification import combinatorial, plugplay


@pytest.mark.parametrize("check", combinatorial.CHECKS, ids=lambda check: check.name)
def test_rows_hold(check):
    row = check()
    assert row.passed, row


@pytest.mark.parametrize("check", plugplay.CHECKS, ids=lambda check: check.name)
@pytest.mark.slow
def test_rows_of_energies_hold(check):
    row = check()
    assert row.passed, row


def test_wrong_things_are_told():
    assert combinatorial.no_better_reversal(0) > 0.1  # tours as they were drawn
    assert plugplay.bound_is_density(uniform).error > 0.5
