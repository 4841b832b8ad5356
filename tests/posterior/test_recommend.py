"""The choice of a method on simulated data, the energy score, and chains on densities, against closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser, clipped
from pushforward.energy import HMC
from pushforward.errors import UserError
from pushforward.inverse import Exact, Gaussian, Guidance, Matrix, condition
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM
from pushforward.posterior import (
    Candidate,
    DensityChains,
    FlowChains,
    Posterior,
    Question,
    SplitGibbs,
    energy_score,
    recommend,
    usual_candidates,
)
from pushforward.posterior.recommend import OwnLaw, p_of_mean

F64 = torch.float64
PRIOR = Mixture.of_covariances(
    torch.tensor([0.4, 0.6], dtype=F64),
    torch.tensor([[-1.5, 0.5, 0.0], [1.5, -0.5, 0.0]], dtype=F64),
    torch.tensor([[0.1, 0.3, 0.2], [0.2, 0.1, 0.4]], dtype=F64),
)
DENOISER = MixtureDenoiser(PRIOR, EDM(0.005, 20.0))
OPERATOR = Matrix(torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 1.0]], dtype=F64))
SEEN = Gaussian(OPERATOR, torch.tensor([[0.3, 0.1]], dtype=F64), 0.2)
QUESTION = Question(DENOISER, SEEN, (3,), 24, F64)


@dataclass(frozen=True)
class Flat:
    """A way to restore that knows the items' size alone: draws around zero, far too sure."""

    def restore(self, denoiser, likelihood, x, evaluations, draws, observe=None, /):
        return 0.05 * draws.normal_like(x)


def test_the_first_candidate_with_nothing_against_it_is_taken_and_it_is_said_why():
    right = Candidate("exact score", Guidance(Exact()), 40)
    found = recommend(QUESTION, [Candidate("flat", Flat(), 1), right, Candidate("dearer", Guidance(Exact()), 400)])
    assert found.name == "exact score" and found.evaluations == 40 and found.calibrated
    assert [t.name for t in found.trials] == ["flat", "exact score"]
    assert "flat (1) had something against it" in found.reason
    assert found.trials[0].score > 1.5 * found.trials[1].score
    assert found.trials[0].residuals is not None and found.trials[0].residuals < 1e-6
    assert "80 % intervals" in found.trials[1].told()


def test_a_question_of_few_items_is_tried_on_more_of_them():
    few = Question(DENOISER, replace(SEEN, y=SEEN.y.expand(2, 2)), (3,), 2, F64)
    right = Candidate("exact score", Guidance(Exact()), 40)
    found = recommend(few, [right], items=24)
    assert found.calibrated and found.trials[0].score == recommend(QUESTION, [right]).trials[0].score


def test_where_none_is_right_the_best_is_taken_and_it_is_said_that_it_is_wrong():
    far = Candidate("far", _Shifted(), 30)
    found = recommend(QUESTION, [Candidate("flat", Flat(), 1), far])
    assert found.name == "far" and not found.calibrated and "wrong" in found.reason
    refused = Candidate("mixture", Guidance(Exact()), 40)
    other = Question(clipped(DENOISER, -50, 50), SEEN, (3,), 24, F64)
    assert "Gaussian mixture" in recommend(other, [refused, Candidate("flat", Flat(), 1)]).trials[0].refused
    with pytest.raises(UserError, match="no method answered"):
        recommend(other, [refused])
    with pytest.raises(UserError, match="at least 20 simulated items"):
        recommend(Question(DENOISER, SEEN, (3,), 5, F64))


@dataclass(frozen=True)
class _Shifted:
    def restore(self, denoiser, likelihood, x, evaluations, draws, observe=None, /):
        return Guidance(Exact()).restore(denoiser, likelihood, x, evaluations, draws) + 0.4


def test_an_approximation_is_not_trusted_where_an_exact_method_has_an_answer():
    approximate = Candidate("exact score", Guidance(Exact()), 20)
    single = Mixture.of_covariances(torch.ones(1, dtype=F64), PRIOR.means[:1], PRIOR.spreads[:1])
    question = Question(MixtureDenoiser(single, EDM(0.005, 20.0)), replace(SEEN, sigma=2.0), (3,), 24, F64)
    found = recommend(question, [approximate, Candidate("exact", SplitGibbs(inner=5, start=10), 130)])
    assert found.name == "exact" and found.calibrated and len(found.trials) == 1
    assert found.trials[0].mixing is not None and found.trials[0].mixing < 1.1
    # Two modes far apart: short chains stay where they are, and say so, and nothing else is trusted instead.
    found = recommend(QUESTION, [approximate, Candidate("exact", SplitGibbs(inner=4, start=8), 48)])
    assert [t.name for t in found.trials] == ["exact", "exact score"] and not found.calibrated
    assert "not come to one law" in found.trials[0].told()
    assert "so few items say little" in found.trials[1].told() and "not to be trusted" in found.reason


@dataclass(frozen=True)
class Elsewhere:
    """A method that answers for a law of its own, far from the model's, and is right for it: y says nothing there."""

    def prior_draws(self, denoiser, shape, draws, dtype=torch.float32, at_once=256):
        return 9 + 0.1 * draws.at("own").normal(shape, dtype)

    def restore(self, denoiser, likelihood, x, evaluations, draws, observe=None, /):
        return 9 + 0.1 * draws.normal_like(x)


def test_what_answers_for_a_law_of_its_own_is_tried_on_items_of_that_law():
    vague = replace(QUESTION, likelihood=replace(SEEN, sigma=5.0))
    found = recommend(vague, [Candidate("elsewhere", Elsewhere(), 1)], truths=20)
    assert found.calibrated and found.trials[0].score < 1
    assert Candidate("flow", FlowChains(), 2000).exact and isinstance(FlowChains(), OwnLaw)


def test_chains_too_short_to_be_judged_are_not_trusted():
    short = Candidate("exact", SplitGibbs(inner=2, start=2, cooling=0), 8)
    [trial] = recommend(QUESTION, [short], truths=10).trials
    assert trial.mixing == math.inf and not trial.calibrated


def test_what_was_too_dear_to_try_is_named_and_nothing_else_is_trusted_in_its_place():
    found = recommend(Question(DENOISER, SEEN, (3,), 20, F64), most=50, samples=9, truths=20)
    assert not found.calibrated
    assert "take more evaluations, try exact (300), try tempering (1000), try flow (2000), or" in found.reason


def test_intervals_that_miss_too_often_are_told():
    """Eighty per cent that hold three quarters: too few items for the ranks of any one number."""
    rows, size = 60, 400
    u = Draws.of(8, range(rows)).uniform((size,), F64)
    assert p_of_mean((u < 0.8).double().mean(1), 0.8) > 0.01
    assert p_of_mean((u < 0.75).double().mean(1), 0.8) < 1e-6
    assert p_of_mean(torch.ones(5, dtype=F64), 0.8) == 0


def test_usual_candidates_go_from_cheap_to_dear():
    counts = [c.evaluations for c in usual_candidates(QUESTION)]
    assert counts == sorted(counts) and counts[0] == 20
    assert [c.exact for c in usual_candidates(QUESTION)] == [False, False, True, True]
    assert [c.name for c in usual_candidates(QUESTION, 2000)][-2:] == ["tempering", "flow"]
    assert all(c.evaluations <= 60 for c in usual_candidates(QUESTION, 60))
    free = Question(DENOISER, Gaussian(OPERATOR, SEEN.y, 0.0), (3,), 24, F64)
    assert {c.name for c in usual_candidates(free)} == {"ddrm", "pigdm"}


def test_the_energy_score_of_one_number_is_the_ranked_probability_score():
    """Draws of N(0, 1), truth x: CRPS = x(2Φ(x) − 1) + 2φ(x) − 1/√π."""
    drawn = Draws.of(0, range(4000)).normal((3, 1), F64)
    x = torch.tensor([[0.0], [0.7], [-2.0]], dtype=F64)
    normal = torch.distributions.Normal(0.0, 1.0)
    exact = x * (2 * normal.cdf(x) - 1) + 2 * normal.log_prob(x).exp() - 1 / math.sqrt(math.pi)
    assert torch.allclose(energy_score(Posterior(drawn[:800], 1.0), x), exact[:, 0], atol=0.05)


@pytest.mark.parametrize("latent", [False, True])
def test_chains_on_a_density_reach_the_exact_posterior(latent):
    """A Gaussian of two numbers, in x and through the affine map that makes it of normal z."""
    root = torch.tensor([[0.8, 0.0], [0.5, 0.3]], dtype=F64)
    mixture = Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, 2, dtype=F64), (root @ root.T)[None])
    likelihood = Gaussian(Matrix(torch.tensor([[1.0, 1.0]], dtype=F64)), torch.tensor([[0.6]], dtype=F64), 0.3)
    rows, method = 300, DensityChains(HMC(1e-2, 4), fit=40, moves=12)
    many, draws = likelihood.select(torch.zeros(rows, dtype=torch.int64)), Draws.of(1, range(rows))
    start = draws.at("start").normal((2,), F64)
    if latent:
        chains = method.sample_latent(lambda z: z @ root.T, many, start, draws)
    else:
        prior = MixtureDenoiser(mixture, EDM())
        chains = method.sample(lambda x: prior.log_prob(x, CLEAN), many, start, draws)
    [exact] = condition(mixture, likelihood)
    spread = exact.covariance().diagonal().sqrt()
    assert float(((chains.x.mean(0) - exact.mean()) / spread).abs().max()) < 4 / rows**0.5
    assert float((chains.x.std(0) / spread - 1).abs().max()) < 0.15
    assert chains.accepted is not None and 0.4 < float(chains.accepted.mean()) < 0.99
    assert chains.trace.shape == (12, rows, 4)
    with pytest.raises(UserError, match="four to be judged by"):
        DensityChains(moves=2)
