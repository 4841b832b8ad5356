"""The rows of T25 hold, and fail when something is put wrong."""

import pytest
import torch

from pushforward.samplers.jump import JumpAncestral
from pushforward.verification import discrete


@pytest.mark.parametrize("check", discrete.CHECKS, ids=lambda check: check.name)
def test_rows_hold(check):
    row = check()
    assert row.passed, row


def test_wrong_things_are_told():
    assert discrete.entropy_bound(torch.tensor([0.05, 0.25, 0.2, 0.5], dtype=torch.float64)).error > 0.1
    assert discrete.corrector(0).error > 0  # as many steps without corrections are worse
    assert discrete.leaping_order(JumpAncestral(), (2, 4, 8)).error > 0.4  # too few steps for the first order
