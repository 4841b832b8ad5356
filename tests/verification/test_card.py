"""The checks of CARD fail where something wrong is put in its place."""

from __future__ import annotations

import pytest

from pushforward.card.chain import Gammas, gammas
from pushforward.samplers import Ancestral, fixed_large
from pushforward.verification import card


def test_a_posterior_without_its_third_weight_is_seen():
    def dropped(t, s):
        found = gammas(t, s)
        return Gammas(found.of_clean, found.of_state, -found.of_mean, found.var)

    assert card.published_gammas(dropped).error > 1e-3


def test_another_fresh_variance_has_another_bias():
    assert card.bias("T = 50, β up to 0.4", Ancestral(1.0, fixed_large)).error > 100
    assert card.bias("T = 50, β up to 0.4").error < 1


def test_the_default_is_not_biased_where_the_published_sampler_is():
    assert card.few_steps().error < 0.01
    assert card.few_steps(4).error > 0.01


@pytest.mark.parametrize("evaluations", [10, 20])
def test_votes(evaluations):
    assert card.votes(2000, evaluations).error < 4
