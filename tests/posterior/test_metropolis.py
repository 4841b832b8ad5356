"""MetropolisBridge moves and unknown noise, against quadrature on a line and conjugate laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import Clip, Gaussian, Identity, Laplace, Matrix, NonLinear, Poisson
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Question, SplitGibbs, Tempering, UnknownNoise, infer, ranks_of

F64 = torch.float64
PRIOR = Mixture.of_covariances(
    torch.tensor([0.4, 0.6], dtype=F64),
    torch.tensor([[-1.0], [1.2]], dtype=F64),
    torch.tensor([[[0.2]], [[0.3]]], dtype=F64),
)
DENOISER = MixtureDenoiser(PRIOR, EDM(0.002, 20.0))
GRID = np.linspace(-5, 5, 4001)


def on_grid(likelihood) -> np.ndarray:
    """p(x | y) on the grid, normalised to sum 1."""
    x = torch.from_numpy(GRID)[:, None]
    prior = sum(
        w * stats.norm.pdf(GRID, m, v**0.5) for w, m, v in zip([0.4, 0.6], [-1.0, 1.2], [0.2, 0.3], strict=True)
    )
    posterior = prior * likelihood.log_prob(x).exp().numpy()
    return posterior / posterior.sum()


LIKELIHOODS = {
    "square": Gaussian(NonLinear(torch.square), torch.tensor([[1.3]]), 0.3),
    "clip": Gaussian(Clip(-0.5, 0.5), torch.tensor([[0.4]]), 0.2),
    "counts": Poisson(NonLinear(torch.exp), torch.tensor([[3.0]])),
    "heavy tails": Laplace(Identity(), torch.tensor([[0.1]]), 0.3),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_tempering_with_tested_moves_reaches_a_law_known_by_quadrature(name):
    """800 weighted draws: the empirical distribution against the grid's, Kolmogorov's distance within its error."""
    likelihood = LIKELIHOODS[name]
    rows = 800
    answer = infer(
        Tempering(inner=14, start=40),
        Question(DENOISER, likelihood, (1,), 1, F64),
        samples=rows,
        evaluations=320,
        seed=3,
    ).resampled()
    exact = np.interp(np.sort(answer.samples.flatten().numpy()), GRID, on_grid(likelihood).cumsum())
    distance = np.abs(exact - (np.arange(rows) + 0.5) / rows).max()
    assert distance < 1.9 / rows**0.5


@pytest.mark.parametrize("name", ["square", "clip"])
def test_tested_sweeps_leave_the_law_invariant(name):
    """From exact draws of the grid's law; an untested move in its place is told apart."""
    likelihood, rows = LIKELIHOODS[name], 800
    cumulative = on_grid(likelihood).cumsum()
    u = Draws.of(4, range(rows)).uniform((1,), F64)
    start = torch.from_numpy(np.interp(u.numpy(), cumulative, GRID))
    rule = SplitGibbs(inner=10)
    chains = rule.moved(DENOISER, likelihood, start, 4, Draws.of(5, range(rows)))
    assert chains.accepted is not None and 0.2 < float(chains.accepted.mean()) < 1
    found = np.interp(np.sort(chains.x.flatten().numpy()), GRID, cumulative)
    assert np.abs(found - (np.arange(rows) + 0.5) / rows).max() < 1.6 / rows**0.5
    assert float((chains.x != start).double().mean()) > 0.9


def test_an_unknown_noise_and_its_item_are_drawn_together():
    """Conjugate case by quadrature: x ~ N(0, 1), 12 measurements of it, σ² inverse-gamma(2, 0.5)."""
    prior = Mixture.of_covariances(*(torch.tensor(v, dtype=F64) for v in ([1.0], [[0.0]], [[[1.0]]])))
    y = 0.7 + 0.5 * Draws.of(6, [0]).normal((12,), F64)
    law, rows = UnknownNoise(2.0, 0.5), 400
    method = SplitGibbs(inner=6, start=6, noise=law)
    column = Matrix(torch.ones(12, 1, dtype=F64))
    answer = infer(
        method,
        Question(MixtureDenoiser(prior, EDM(0.002, 20.0)), Gaussian(column, y, 1.0), (1,), 1, F64),
        samples=rows,
        evaluations=186,
    )
    log_sigma = np.linspace(-3, 2, 1501)[:, None]
    x = np.linspace(-3, 3, 601)[None]
    square = ((y[0].numpy()[:, None, None] - x) ** 2).sum(0)
    log = -0.5 * x**2 - 12 * log_sigma - 0.5 * square * np.exp(-2 * log_sigma)
    log = log - 4 * log_sigma - 0.5 * np.exp(-2 * log_sigma)  # of log σ: the density of σ² times σ²
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean, second = (weight * log_sigma).sum(), (weight * log_sigma**2).sum()
    assert answer.sigma is not None
    found = answer.sigma.log().flatten()
    spread = math.sqrt(second - mean**2)
    assert float(found.mean()) == pytest.approx(mean, abs=4 * spread / rows**0.5)
    assert float(found.std()) == pytest.approx(spread, rel=0.12)
    assert float(answer.mean) == pytest.approx((weight * x).sum(), abs=0.03)
    ranks = ranks_of(answer, torch.zeros(1, 1, dtype=F64), sigma=torch.tensor([found.exp().median()], dtype=F64))
    assert ranks.names[-1] == "noise level" and int(ranks.values[0, -1]) in ((rows - 1) // 2, rows // 2)


def test_the_law_of_an_unknown_noise_is_inverse_gamma():
    law, keys = UnknownNoise.around(0.2, 0.7), Draws.of(7, range(2000))
    drawn, inverse = law.sample(keys) ** 2, stats.invgamma(law.shape, scale=law.scale)
    assert stats.kstest(drawn.numpy(), inverse.cdf).pvalue > 0.01
    mode = drawn.log().median().exp().sqrt()
    assert 0.1 < float(mode) < 0.45
    assert float(drawn.sqrt().log2().std()) == pytest.approx(0.7, rel=0.1)
    cut = law.above(0.25).sample(keys) ** 2
    beyond = inverse.sf(0.25**2)
    assert stats.kstest(cut.numpy(), lambda v: 1 - inverse.sf(v) / beyond).pvalue > 0.01
    with pytest.raises(UserError, match=r"between 0\.01 and 5 doublings"):
        UnknownNoise.around(0.2, 9)


def test_a_noise_level_far_below_the_least_is_drawn_just_above_it():
    """The probability that σ lies above `least` underflows: the law beyond it is that of its own slope there."""
    keys, least = Draws.of(8, range(500)), 0.1
    x = torch.full((500, 784), 1e-3, dtype=F64)
    seen = Gaussian(Identity(), torch.zeros(500, 784, dtype=F64), 0.5)
    sigma = UnknownNoise(least=least).draw(seen, x, keys)
    assert float(sigma.min()) >= least and float(sigma.max()) < 1.03 * least
    # log(σ²/least²) is exponential, of rate m/2 less ‖r‖²/(2 least²).
    waits = 2 * (sigma / least).log() * (392 - 784 * 1e-6 / (2 * least**2))
    assert stats.kstest(waits.numpy(), "expon").pvalue > 0.01


def test_what_cannot_be_tested_or_estimated_is_refused():
    x = torch.zeros(1, 1, dtype=F64)
    with pytest.raises(UserError, match="sigma = 0"):
        SplitGibbs().bridge(Gaussian(Clip(-1, 1), x, 0.0), x)
    with pytest.raises(UserError, match="noise is Gaussian"):
        UnknownNoise().draw(Laplace(Identity(), x, 1.0), x, Draws.of(0, [0]))
    with pytest.raises(UserError, match="at least 0"):
        UnknownNoise(-1.0)
    with pytest.raises(UserError, match="cannot be drawn from"):
        UnknownNoise().sample(Draws.of(0, [0]))
