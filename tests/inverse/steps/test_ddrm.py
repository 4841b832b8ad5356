"""DDRM beside the paper's equations written out number by number, its marginals, and what its limit draws."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, Estimate, Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    AveragePool,
    ChannelsAsComplex,
    Gaussian,
    Identity,
    Mask,
    Matrix,
    ZeroBlur,
    gaussian_kernel,
    subsampled_fourier,
)
from pushforward.inverse.steps import DDRM, Constant, Fixed, Measured, ReverseSDE, variational
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, Karras, Straight
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers.step import evaluations

F64 = torch.float64
SHAPE = (1, 4, 4)
PATHS = [VP(), VE(), EDM(), Straight()]


def operator() -> Matrix:
    """Ten of sixteen components are seen, with singular values from 2 to 0.02."""
    u, _, vh = torch.linalg.svd(Draws.of(0, range(10)).normal((16,), F64), full_matrices=False)
    return Matrix(u @ torch.diag(torch.logspace(math.log10(2), math.log10(0.02), 10, dtype=F64)) @ vh, SHAPE)


@dataclass(frozen=True)
class Wavy(Denoiser):
    """A denoiser that is not linear, so that nothing cancels."""

    path: GaussianPath

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, torch.tanh(x.roll(1, -1) / (1 + level.sigma)) + 0.3 * x / (1 + level.sigma))


def transcription(path, levels, matrix, y, sigma_y, x_prior, draws, eta, eta_b) -> Tensor:
    """Equations 4 to 8 for one item, in the paper's variance-exploding state, by component and by number."""
    u, s, vh = torch.linalg.svd(matrix)  # vh is 16 × 16: six components have no singular value
    size = matrix.shape[1]
    s = torch.cat((s, torch.zeros(size - len(s), dtype=F64)))
    y_bar = torch.cat((u.T @ y, torch.zeros(size - len(y), dtype=F64)))
    y_bar = torch.where(s > 0, y_bar / torch.where(s > 0, s, 1), 0)
    denoiser, sigma = Wavy(path), [level.sigma / level.alpha if level.alpha else math.inf for level in levels]
    start = vh @ x_prior.flatten() / levels[0].sigma  # standard normal
    x = torch.zeros(size, dtype=F64)  # α_T x_T / σ_T where α_T = 0
    scaled = torch.zeros(size, dtype=F64)
    for i in range(size):
        a, b = levels[0].alpha, levels[0].sigma
        if s[i] > 0 and b >= a * sigma_y / s[i]:
            scaled[i] = a * y_bar[i] + math.sqrt(b**2 - (a * sigma_y / s[i]) ** 2) * start[i]
        else:
            scaled[i] = b * start[i]
    for k in range(len(levels) - 1):
        state = (vh.T @ scaled).reshape(1, *SHAPE)
        theta = vh @ denoiser.estimate(state, levels[k]).mean.flatten()
        noise = (scaled - levels[k].alpha * theta) / levels[k].sigma  # (x̄_{t+1} − x̄_θ)/σ_{t+1}
        z = vh @ draws.at(k).normal(SHAPE, F64).flatten() if levels[k + 1].sigma > 0 else torch.zeros(size, dtype=F64)
        sig = sigma[k + 1]
        for i in range(size):
            if s[i] == 0:
                x[i] = theta[i] + math.sqrt(1 - eta**2) * sig * noise[i] + eta * sig * z[i]
            elif sig < sigma_y / s[i]:
                direction = (y_bar[i] - theta[i]) / (sigma_y / s[i])
                x[i] = theta[i] + math.sqrt(1 - eta**2) * sig * direction + eta * sig * z[i]
            else:
                b = eta_b if eta_b is not None else 2 * sig**2 / (sig**2 + (sigma_y / float(s[i])) ** 2)
                spread = math.sqrt(max(sig**2 - (sigma_y / float(s[i])) ** 2 * b**2, 0.0))
                x[i] = (1 - b) * theta[i] + b * y_bar[i] + spread * z[i]
        scaled = levels[k + 1].alpha * x
    return (vh.T @ scaled).reshape(SHAPE)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("sigma", [0.0, 0.03, 0.5])
@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.6, 0.7), (1.0, None)])
def test_it_is_the_papers_equations(path, sigma, eta, eta_b):
    if sigma == 0.0 and eta_b is None:
        pytest.skip("theorem 3.2 is of noisy measurements: its η_b is 2, a variance below 0, at σ_y = 0 … of no noise")
    batch, steps = 3, 6
    draws = Draws.of(7, range(batch))
    truth = draws.at("truth").normal(SHAPE, F64)
    likelihood = Gaussian.measure(operator(), truth, sigma, draws)
    method = DDRM(Constant(eta), variational if eta_b is None else Fixed(eta_b), False, Karras())
    start = path.prior(draws.at("prior").normal(SHAPE, F64))
    found = method.restore(Wavy(path), likelihood, start, steps, draws)
    for i in range(batch):
        expected = transcription(
            path,
            Karras()(path, steps),
            operator().matrix,
            likelihood.y[i],
            sigma,
            start[i],
            draws[i : i + 1],
            eta,
            eta_b,
        )
        assert torch.allclose(found[i], expected, rtol=0, atol=1e-9)


def by_component(path, levels, y, sigma_y, start, draws) -> Tensor:
    """The default rule for one item, component by component: what is above, carried, passed and not seen."""
    u, s, vh = torch.linalg.svd(operator().matrix)
    s = torch.cat((s, torch.zeros(16 - len(s), dtype=F64)))
    y_bar = torch.where(s > 0, torch.cat((u.T @ y, torch.zeros(6, dtype=F64))) / s, 0)
    own = torch.where(s > 0, sigma_y / s, torch.inf)
    x = start.clone()
    for k, (t, level) in enumerate(itertools.pairwise(levels)):
        estimate = Wavy(path).estimate(x[None], t)
        mean, noise = (vh @ part.flatten() for part in (estimate.mean, estimate.noise))
        z = vh @ draws.at(k).normal(SHAPE, F64).flatten() if level.sigma > 0 else torch.zeros(16, dtype=F64)
        fresh = ReverseSDE()(t, level)
        along = level.alpha * mean + level.sigma * (math.sqrt(1 - fresh) * noise + math.sqrt(fresh) * z)
        anew = level.alpha * mean + level.sigma * z
        ratio = level.sigma / level.alpha / own
        passed = level.alpha * (mean + ratio**2 * (y_bar - mean)) + level.sigma * (1 - ratio**2).clamp(min=0).sqrt() * z
        above = level.alpha * y_bar + (level.sigma**2 - (level.alpha * own) ** 2).clamp(min=0).sqrt() * z
        moved = torch.where(t.sigma < t.alpha * own, along, torch.where(ratio < 1, passed, above))
        unseen = anew if level.sigma > level.alpha * own.min() else along
        x = (vh.T @ torch.where(s > 0, moved, unseen)).reshape(SHAPE)
    return x


@pytest.mark.parametrize("path", [VP(), EDM()], ids=lambda p: type(p).__name__)
def test_the_default_is_its_four_cases(path):
    """With one noise for all, or one per item, of which one is so large that its components are carried early."""
    batch, steps, draws = 3, 14, Draws.of(8, range(3))
    truth, start = draws.at("truth").normal(SHAPE, F64), path.prior(draws.at("prior").normal(SHAPE, F64))
    for sigma in (0.03, torch.tensor([0.01, 0.1, 3.0], dtype=F64)):
        likelihood = Gaussian.measure(operator(), truth, sigma, draws)
        method, levels = DDRM(grid=Karras()), Karras()(path, steps)
        found = method.restore(Wavy(path), likelihood, start, steps, draws)
        measured = Measured.of(likelihood, start)
        first = method.start(measured, start, levels[0], draws)
        for i in range(batch):
            own = float(sigma[i]) if isinstance(sigma, Tensor) else sigma
            expected = by_component(path, levels, likelihood.y[i], own, first[i], draws[i : i + 1])
            assert torch.allclose(found[i], expected, rtol=0, atol=1e-9)


@dataclass(frozen=True, eq=False)
class Knows(Denoiser):
    """E[x_0 | x_t] = x_0: then what a step makes is q(x_s | x_t, x_0, y)."""

    path: GaussianPath
    truth: Tensor

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, self.truth.expand_as(x))


@dataclass(frozen=True, eq=False)
class Given(Draws):
    """Draws that are what they are told to be."""

    z: Tensor

    def at(self, *parts: int | str) -> Given:
        return self

    def normal_like(self, x: Tensor) -> Tensor:
        return self.z


def response_of(step_of, path, t, s, truth, sigma) -> Tensor:
    """x_s − α_s x_0 for each unit of noise, (42, 16): in the state, in y, and fresh."""
    count = 16 + 10 + 16
    unit = torch.eye(count, dtype=F64)
    state, measured, fresh = unit[:, :16], unit[:, 16:26], unit[:, 26:]
    truths = truth.expand(count, *SHAPE)
    likelihood = Gaussian(operator(), operator()(truths) + sigma * measured, sigma)
    x = t.alpha * truths + t.sigma * state.reshape(-1, *SHAPE)
    step = step_of.step(Measured.of(likelihood, x), x)
    [move] = step.plan(path, (t, s))
    draws = Given(torch.zeros(count, dtype=torch.int64), torch.arange(count), fresh.reshape(-1, *SHAPE))
    moved, _ = step(Knows(path, truth), x, move, None, draws)
    return (moved - s.alpha * truths).flatten(1)


SETTINGS = [
    DDRM.published(),
    DDRM.variational(),
    DDRM(Constant(0.3), Fixed(0.4), False),
    DDRM(ReverseSDE(0.5), Fixed(1.0), False),
]


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("path", [VP(), EDM(), Straight()], ids=lambda p: type(p).__name__)
def test_the_marginals_given_the_truth_are_those_of_the_path_in_all_branches(path, method):
    """Proposition 3.1. Singular values from 2 to 0.02 put components of one step into each of the three branches."""
    truth, sigma = Draws.of(1, [0]).normal(SHAPE, F64), 0.1
    _, values, vh = torch.linalg.svd(operator().matrix)
    for ratio in (0.02, 0.3, 10.0):
        t, s = path.levels(path.time(-torch.log(torch.tensor([2 * ratio, ratio], dtype=F64))))
        above = int((sigma / values <= s.ratio).sum())
        assert above == 0 if ratio == 0.02 else above == 10 if ratio == 10.0 else 0 < above < 10
        away = response_of(method, path, t, s, truth, sigma) @ vh.T
        # Each row is the response to one unit of noise, so this is the covariance of all of them.
        assert torch.allclose(away.T @ away, s.sigma**2 * torch.eye(16, dtype=F64), rtol=0, atol=1e-10 * s.sigma**2)


@pytest.mark.parametrize("level", [0.05, 5.0])
def test_the_start_has_the_marginal_of_the_path(level):
    """Where y says more than the prior's noise hides, the start is N(α ȳ, σ² − (α σ_y/s)²)."""
    path, sigma, count = VE(0.001, level), 0.1, 42
    unit = torch.eye(count, dtype=F64)
    likelihood = Gaussian(operator(), sigma * unit[:, 16:26], sigma)
    x = path.prior(unit[:, 26:].reshape(-1, *SHAPE))
    start = DDRM().start(Measured.of(likelihood, x), x, path.level(1.0), Draws.of(0, range(count)))
    away = start.flatten(1) @ torch.linalg.svd(operator().matrix)[2].T
    assert torch.allclose(away.T @ away, level**2 * torch.eye(16, dtype=F64), rtol=0, atol=1e-10 * level**2)


@pytest.mark.parametrize("method", [DDRM(), DDRM.published(), DDRM(Constant(0.5), Fixed(1.0), False)])
@pytest.mark.parametrize(
    "measures",
    [
        Mask(torch.arange(16).reshape(4, 4) % 3 > 0),
        AveragePool(2),
        subsampled_fourier(torch.tensor([1, 0, 1, 1]).bool().expand(4, 4)) @ ChannelsAsComplex(),
    ],
    ids=["mask", "pool", "fourier"],
)
def test_what_is_measured_without_noise_is_met_at_the_end(method, measures):
    shape = (2, 4, 4)
    draws = Draws.of(3, range(3))
    y = measures(draws.at("truth").normal(shape, F64))
    path = EDM()
    start = path.prior(draws.at("prior").normal(shape, F64))
    found = method.restore(Wavy(path), Gaussian(measures, y, 0.0), start, 20, draws)
    assert torch.allclose(measures(found), y, rtol=0, atol=1e-10)


def test_without_noise_and_with_it_in_one_batch():
    draws, path, measures = Draws.of(3, range(2)), EDM(), AveragePool(2)
    truth = draws.at("truth").normal(SHAPE, F64)
    sigma = torch.tensor([0.0, 0.2], dtype=F64)
    both = Gaussian.measure(measures, truth, sigma, draws)
    start = path.prior(draws.at("prior").normal(SHAPE, F64))
    for method in (DDRM(), DDRM.published()):
        together = method.restore(Wavy(path), both, start, 12, draws)
        for i in range(2):
            one = Gaussian(measures, both.y[i : i + 1], float(sigma[i]))
            alone = method.restore(Wavy(path), one, start[i : i + 1], 12, draws[i : i + 1])
            assert torch.allclose(together[i], alone[0], rtol=0, atol=1e-10)
        assert torch.allclose(measures(together[:1]), both.y[:1], rtol=0, atol=1e-10)
        assert not torch.allclose(measures(together[1:]), both.y[1:], atol=1e-3)


def test_denoising_draws_from_the_posterior_as_steps_increase():
    """Everything measured with one noise level: the way from y on is the reverse SDE's. The published one's is not."""
    count, sigma, variance = 6000, 0.6, 0.5
    one = torch.ones(1, dtype=F64)
    prior = MixtureDenoiser(Mixture.of_covariances(one, torch.zeros(1, 2, dtype=F64), one * variance), EDM(0.002, 20.0))
    y = torch.tensor([[0.8, -0.3]], dtype=F64)
    draws = Draws.of(5, range(count))
    start = prior.path.prior(draws.at("prior").normal((2,), F64))
    exact_variance = 1 / (1 / variance + 1 / sigma**2)
    mean = exact_variance * y / sigma**2
    found = DDRM().restore(prior, Gaussian(Identity(), y, sigma), start, 200, draws)
    error = float((found.mean(0) - mean).abs().max()) / exact_variance**0.5
    assert error < 0.06
    assert torch.allclose(found.var(0), torch.full((2,), exact_variance, dtype=F64), rtol=0.12)
    published = DDRM.published().restore(prior, Gaussian(Identity(), y, sigma), start, 120, draws)
    assert float(published.var(0).max()) < 0.5 * exact_variance


def test_a_few_steps_keep_what_was_measured():
    """Ten steps, the measurement's level between two of them: y counts with its own noise, not with the grid's."""
    count, sigma = 4000, 0.3
    one = torch.ones(1, dtype=F64)
    prior = MixtureDenoiser(Mixture.of_covariances(one, torch.zeros(1, 2, dtype=F64), one), EDM(0.002, 20.0))
    y, draws = torch.tensor([[0.8, -0.3]], dtype=F64), Draws.of(5, range(count))
    start = prior.path.prior(draws.at("prior").normal((2,), F64))
    exact = 1 / (1 + 1 / sigma**2)
    found = DDRM().restore(prior, Gaussian(Identity(), y, sigma), start, 10, draws)
    assert float((found.mean(0) - exact * y / sigma**2).abs().max()) < 0.1 * exact**0.5


def test_what_is_hidden_comes_to_agree_with_what_is_seen():
    """A pair that is (1, 1) or (−1, −1), of which one half is seen: noise renewed at each step leads to the other."""
    half, means = torch.full((2,), 0.5, dtype=F64), torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=F64)
    covariances = 0.1**2 * torch.eye(2, dtype=F64).expand(2, 2, 2)
    prior = MixtureDenoiser(Mixture.of_covariances(half, means, covariances), EDM(0.002, 20.0))
    draws, y = Draws.of(6, range(2000)), torch.tensor([[0.9, 0.0]], dtype=F64)
    start = prior.path.prior(draws.at("prior").normal((2,), F64))
    seen = Gaussian(Mask(torch.tensor([True, False])), y, 0.5)
    wrong = {
        method: float((method.restore(prior, seen, start, 20, draws)[:, 1] < 0).double().mean())
        for method in (DDRM(), DDRM(ReverseSDE()), DDRM.published())
    }
    # In truth one of a thousand is: the odds are exp(2 · 0.9/(0.5² + 0.1²)).
    assert wrong[DDRM()] < 0.5 * wrong[DDRM(ReverseSDE())] and wrong[DDRM()] < wrong[DDRM.published()]


def test_it_costs_one_evaluation_a_step_and_refuses_what_has_no_singular_system():
    path, draws = VP(), Draws.of(0, range(2))
    x = draws.normal(SHAPE, F64)
    seen = Measured.of(Gaussian(AveragePool(2), AveragePool(2)(x), 0.1), x)
    method = DDRM.published()
    assert evaluations(method.step(seen, x), path, method.levels(path, 20)) == 20
    blur = ZeroBlur(gaussian_kernel(3, 1.0, F64))
    with pytest.raises(UserError, match="singular system"):
        method.restore(Wavy(path), Gaussian(blur, blur(x), 0.1), x, 20, draws)
    with pytest.raises(UserError, match="eta must lie"):
        Constant(1.2)
    assert replace(method, grid=Karras()).levels(path, 5)[-1].sigma == 0
