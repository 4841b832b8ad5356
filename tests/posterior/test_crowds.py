"""Crowds: systematic resampling, tempering and twisted SMC against a mixture's exact posterior and evidence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import Clip, Gaussian, Matrix, condition, log_evidence
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Posterior, Question, SplitGibbs, Tempering, Twisted, infer
from pushforward.posterior.resampling import systematic

F64 = torch.float64
PRIOR = Mixture.of_covariances(
    torch.tensor([0.25, 0.75], dtype=F64),
    torch.tensor([[-2.0, 0.3], [2.0, -0.3]], dtype=F64),
    torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.05], [-0.05, 0.4]]], dtype=F64),
)
DENOISER = MixtureDenoiser(PRIOR, EDM(0.005, 20.0))
SECOND = Matrix(torch.tensor([[0.0, 1.0]], dtype=F64))
"""The second number alone is seen: both modes stay, with other weights."""
SEEN = Gaussian(SECOND, torch.tensor([[0.2], [-0.4]], dtype=F64), 0.1)
QUESTION = Question(DENOISER, SEEN, (2,), 2, F64)


def test_resampling_takes_each_sample_as_often_as_its_weight_says():
    weights = Draws.of(0, range(20)).uniform((3,), F64)
    draws = Draws.of(1, range(3))
    index, equal = systematic(weights.log(), draws, 2.0)
    share = 20 * weights / weights.sum(0)
    for i in range(3):
        times = torch.bincount(index[:, i], minlength=20)
        assert bool(((times >= share[:, i].floor()) & (times <= share[:, i].ceil())).all())
    assert torch.allclose(equal.exp(), torch.tensor(1 / 20, dtype=F64))
    stay, kept = systematic(weights.log(), draws, 0.1)
    assert bool((stay == torch.arange(20)[:, None]).all())
    assert torch.allclose(kept.exp(), weights / weights.sum(0))
    assert bool((systematic(torch.zeros(20, 3), draws, 2.0).chosen == torch.arange(20)[:, None]).all())


@pytest.mark.parametrize("method, evaluations", [(Tempering(inner=14, start=60), 340), (Twisted(), 60)])
def test_weights_of_modes_that_have_parted_are_right(method, evaluations):
    """The share of the first mode, the moments within it, and log p(y) where the method knows it."""
    rows = 600
    answer = infer(method, QUESTION, samples=rows, evaluations=evaluations, seed=1)
    assert answer.evaluations <= evaluations
    for i, posterior in enumerate(condition(PRIOR, SEEN)):
        weights = torch.full((rows,), 1 / rows) if answer.log_weights is None else answer.log_weights[:, i].exp()
        first = answer.samples[:, i, 0] < 0
        assert float(weights[first].sum()) == pytest.approx(float(posterior.weights[0]), abs=0.07)
        assert float(answer.mean[i, 1]) == pytest.approx(float(posterior.mean()[1]), abs=0.03)
        assert float(answer.deviation[i, 0]) == pytest.approx(float(posterior.covariance()[0, 0].sqrt()), rel=0.12)
    if answer.log_evidence is not None:
        assert torch.allclose(answer.log_evidence, log_evidence(PRIOR, SEEN), rtol=0, atol=0.2)


def test_items_cool_at_their_own_pace_and_do_not_depend_on_their_neighbours():
    method = Tempering(inner=4, start=8)
    both = infer(method, QUESTION, samples=16, evaluations=72)
    apart = infer(method, QUESTION, samples=16, evaluations=72, at_once=16)
    assert torch.allclose(both.samples, apart.samples, atol=1e-9)


def test_chains_tell_that_they_have_not_mixed():
    """Warm starts in the wrong mode: R̂ of the chains of one item is large, and the answer says so."""
    rows = 32
    start = torch.where(torch.arange(rows) % 2 == 0, -2.0, 2.0)[:, None] * torch.tensor([1.0, 0.0]).double()
    chains = SplitGibbs(inner=4).moved(
        DENOISER, SEEN.select(torch.zeros(rows).long()), start, 12, Draws.of(2, range(rows))
    )
    trace = chains.trace[:, :, None]
    from pushforward.posterior import Posterior

    answer = Posterior(chains.x[:, None], 48.0, trace=trace)
    assert answer.rhat is not None and float(answer.rhat) > 2
    assert answer.mixed is not None and not bool(answer.mixed)
    assert float(answer.effective) < 8


def test_the_answer_of_chains_has_diagnostics_and_is_the_same_in_parts():
    method = SplitGibbs(inner=4, start=8)
    whole = infer(method, QUESTION, samples=6, evaluations=48, seed=4)
    parts = infer(method, QUESTION, samples=6, evaluations=48, seed=4, at_once=5)
    assert torch.allclose(whole.samples, parts.samples, atol=1e-9)
    assert whole.trace is not None and whole.trace.shape[1:3] == (6, 2)
    assert whole.rhat is not None and whole.sweeps_worth is not None
    assert whole.evaluations == 48


def test_crowds_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="at least 8 samples"):
        infer(Tempering(), QUESTION, samples=4, evaluations=400)
    with pytest.raises(UserError, match="120 evaluations"):
        infer(Tempering(), QUESTION, samples=8, evaluations=100)
    with pytest.raises(UserError, match="linear operator"):
        infer(Twisted(), Question(DENOISER, Gaussian(Clip(-1, 1), torch.zeros(1, 2), 0.1), (2,), 1), samples=8)
    with pytest.raises(UserError, match="at least 1"):
        infer(Twisted(), QUESTION, samples=0)


@dataclass(frozen=True)
class LeavesWeights:
    """A crowd whose draws count alike but where the first number of the start is high: weights as they come."""

    def crowd(self, denoiser, likelihood, start, evaluations, draws, observe=None, /):
        weights = start[..., 0].log_softmax(0) if int(draws.index[0]) == 0 else None
        return Posterior(start, 0.0, log_weights=weights)


def test_items_whose_draws_count_alike_stand_beside_others_that_are_weighted():
    answer = infer(LeavesWeights(), QUESTION, samples=6, evaluations=1, at_once=6)
    assert answer.samples.shape[1] == 2 and answer.log_weights is not None
    assert torch.allclose(answer.log_weights[:, 0], answer.samples[:, 0, 0].log_softmax(0))
    assert torch.allclose(answer.log_weights[:, 1].exp(), torch.full((6,), 1 / 6, dtype=F64))
    assert torch.allclose(answer.mean[1], answer.samples[:, 1].mean(0))
    assert torch.equal(answer.resampled().samples[:, 1], answer.samples[:, 1])
