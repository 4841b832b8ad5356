"""Figures that tell whether adversarial training goes well, at laws where they are known; the sentences on a log."""

from __future__ import annotations

import pytest
import torch

from pushforward.errors import UserError
from pushforward.gan import Hinge, Minimax, NonSaturating, Relativistic, advice, coverage, expected_coverage, modes
from pushforward.gan.diagnostics import accuracy, diversity, saturation
from pushforward.numerics.random import Draws


def normal(name, count=128, features=3):
    return Draws.of(0, range(count), name).normal((features,), torch.float64)


@pytest.mark.parametrize("features", [1, 2, 10])
def test_coverage_of_one_law_by_itself_is_known_whatever_the_law(features):
    found = [float(coverage(normal(f"a{i}", 64, features), normal(f"b{i}", 64, features)).mean()) for i in range(60)]
    mean = sum(found) / len(found)
    assert mean == pytest.approx(expected_coverage(64), abs=0.012)
    assert expected_coverage(64) == pytest.approx(0.9728, abs=1e-3)
    warped = [
        float(coverage(normal(f"a{i}", 64, features).exp(), normal(f"b{i}", 64, features).exp()).mean())
        for i in range(60)
    ]
    assert sum(warped) / 60 == pytest.approx(expected_coverage(64), abs=0.012)


def test_coverage_falls_with_the_share_that_is_missed():
    real = torch.cat((normal("a", 64), normal("b", 64) + 50))
    assert float(coverage(real, normal("c")).mean()) == pytest.approx(0.5, abs=0.02)
    assert float(coverage(real, normal("c") - 1000).mean()) == 0
    assert coverage(real[:1], real[:1]).tolist() == [1.0]
    assert coverage(real[:3], real[:3]).shape == (3,)


def test_diversity_is_one_for_equal_spread_and_zero_for_one_point():
    assert float(diversity(normal("a", 2000), normal("b", 2000)).mean()) == pytest.approx(1, abs=0.03)
    assert float(diversity(normal("a", 2000), 0.3 * normal("b", 2000)).mean()) == pytest.approx(0.3, abs=0.01)
    assert float(diversity(normal("a"), torch.ones(128, 3)).max()) == 0


def test_accuracy_counts_ties_as_half():
    assert accuracy(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 0.0, 3.0])).tolist() == [1.0, 0.5, 0.0]


def test_saturation_is_where_the_gradient_has_gone():
    sure, unsure = torch.tensor([9.0, 0.5]), torch.tensor([-9.0, -0.5])
    for loss in (Relativistic(), Minimax(), NonSaturating(), Hinge()):
        assert saturation(loss.discriminator, sure, unsure, "discriminator").tolist() == [1.0, 0.0], loss
    assert saturation(Minimax().generator, sure, unsure, "generator").tolist() == [1.0, 0.0]
    assert saturation(NonSaturating().generator, sure, unsure, "generator").tolist() == [0.0, 0.0]
    with torch.no_grad():
        assert saturation(Relativistic().generator, sure, unsure, "generator").tolist() == [0.0, 0.0]
    with pytest.raises(UserError, match="players"):
        saturation(Hinge().generator, sure, unsure, "critic")


CENTRES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def test_modes_of_the_law_itself_and_of_a_part_of_it():
    which = Draws.of(0, range(4000), "which").integers(4)
    exact = CENTRES[which] + normal("within", 4000, 2).float()
    found = modes(exact, CENTRES, 1.0)
    assert found.covered == 4 and found.imbalance < 0.01
    assert found.high_quality == pytest.approx(1 - 2.718281828**-4.5, abs=0.005)  # P(|N(0, I₂)| ≤ 3)
    part = modes(exact[which < 2], CENTRES, 1.0)
    assert part.covered == 2 and part.imbalance == pytest.approx(0.6931, abs=0.01)
    between = modes(torch.full((10, 2), 5.0), CENTRES, 1.0)
    assert between.covered == 0 and between.high_quality == 0
    with pytest.raises(UserError, match=r"\(N, D\) and \(M, D\)"):
        modes(torch.zeros(3), CENTRES, 1.0)


WELL = {
    "accuracy": 0.6,
    "saturation": 0.0,
    "generator_saturation": 0.0,
    "diversity": 0.98,
    "coverage": 0.96,
    "penalty": 0.01,
}


def log(last, norm=1.0, count=60):
    entries = [{"step": i, "figures": WELL, "gradient_norm/generator": 1.0} for i in range(count)]
    entries += [{"step": count, "validation": {"model": 1.0}}]
    ends = [{"step": count + i, "figures": {**WELL, **last}, "gradient_norm/generator": norm} for i in range(20)]
    return entries + ends


def test_nothing_is_said_where_all_is_well():
    assert advice(log({})) == ()
    assert advice([]) == () and advice([{"step": 1, "loss": 2.0}]) == ()
    assert advice(log({"accuracy": None})) == ()  # not finite: the engine has stopped by then


@pytest.mark.parametrize(
    ("last", "norm", "words"),
    [
        ({"accuracy": 0.99}, 1.0, "tells 99% of the generated items"),
        ({"saturation": 0.8}, 1.0, "nothing left to learn"),
        ({"generator_saturation": 0.7}, 1.0, "no gradient"),
        ({"diversity": 0.1}, 1.0, "collapses"),
        ({"coverage": 0.4}, 1.0, "come near 40% of the real ones"),
        ({}, 100.0, "gradient of the generator has grown to 100, 100 times"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(last, norm, words):
    [sentence] = advice(log(last, norm))
    assert words in sentence and sentence.endswith(".")
