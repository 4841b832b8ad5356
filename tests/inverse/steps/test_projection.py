"""Projections onto noised measurements: their formula, the law they leave, solves instead of singular systems."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, Estimate, Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    ChannelsAsComplex,
    ColourMix,
    Function,
    Gaussian,
    Laplace,
    LinearOperator,
    Magnitude,
    Mask,
    Matrix,
    parallel,
    sense,
)
from pushforward.inverse.steps import Measured, Modelled, ProjectedScore, ProjectedStep, Published
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VE, VP, Karras, Straight
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers import DDPM, Langevin
from pushforward.samplers.predictors import ReverseDiffusion
from pushforward.samplers.step import evaluations

F64 = torch.float64
SHAPE = (1, 3, 4)
LEVELS = [VP().level(0.3), EDM().level(0.01), Straight().level(1.0), VE().level(0.9)]


def operator() -> Matrix:
    """Seven of twelve components, with singular values from 3 to 0.03."""
    u, _, vh = torch.linalg.svd(Draws.of(0, range(7)).normal((12,), F64), full_matrices=False)
    return Matrix(u @ torch.diag(3 * torch.logspace(0, -2, 7, dtype=F64)) @ vh, SHAPE)


def without_system(matrix: Matrix) -> LinearOperator:
    return Function(matrix, SHAPE, matrix.adjoint)


@dataclass(frozen=True, eq=False)
class Given(Draws):
    """Noise as it is told to be: for the state, for the measurement."""

    state: Tensor
    measured: Tensor

    def at(self, *parts: int | str) -> Given:
        return self

    def normal_like(self, x: Tensor) -> Tensor:
        return self.state if x.shape == self.state.shape else self.measured


class Quiet(Draws):
    """No noise: what is left of a rule is its mean."""

    def at(self, *parts: int | str) -> Quiet:
        return self

    def normal_like(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def responses(rule: Modelled, level: Level, sigma: float, share: float, measures=None) -> Tensor:
    """x′ − α x_0 for each unit of noise: in the state, in y, fresh in the state, fresh in the measurement."""
    unit = torch.eye(12 + 7 + 12 + 7, dtype=F64)
    state, measured, fresh, again = unit.split([12, 7, 12, 7], 1)
    truth = Draws.of(1, [0]).normal(SHAPE, F64).expand(len(unit), *SHAPE)
    measures = measures or operator()
    likelihood = Gaussian(measures, measures(truth) + sigma * measured, sigma)
    x = level.alpha * truth + level.sigma * state.reshape(-1, *SHAPE)
    draws = Given(torch.zeros(len(unit)).long(), torch.arange(len(unit)), fresh.reshape(-1, *SHAPE), again)
    return (rule(Measured.of(likelihood, x), x, level, share, draws) - level.alpha * truth).flatten(1)


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("share", [1.0, 0.1])
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: f"{level.sigma:.3g}")
def test_the_law_given_the_truth_stays_that_of_the_path(level, share, sigma):
    away = responses(Modelled(), level, sigma, share)
    expected = level.sigma**2 * torch.eye(12, dtype=F64)
    assert torch.allclose(away.T @ away, expected, rtol=0, atol=1e-10 * level.sigma**2)


@pytest.mark.parametrize("sigma", [0.02, 0.5])
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: f"{level.sigma:.3g}")
def test_a_solve_that_is_kept_well_conditioned_leaves_the_same_law(level, sigma):
    away = responses(Modelled(), level, sigma, 0.3, without_system(operator()))
    expected = level.sigma**2 * torch.eye(12, dtype=F64)
    assert torch.allclose(away.T @ away, expected, rtol=0, atol=1e-6 * level.sigma**2)


def test_tomography_in_single_precision_from_much_noise():
    radon, path = parallel(16, 12), EDM()
    draws = Draws.of(0, range(2))
    likelihood = Gaussian.measure(radon, 0.5 * draws.at("x").normal((1, 16, 16)), 0.2, draws)
    start = path.prior(draws.at("prior").normal((1, 16, 16)))
    found = ProjectedScore().restore(Shrinks(path, []), likelihood, start, 20, draws)
    assert 0.3 < float(likelihood.chi2(found).mean()) < 3


def test_the_published_rule_carries_the_noise_of_the_measurement_into_the_state():
    away = responses(Published(), EDM().level(0.001), 0.5, 1.0)
    assert float((away.T @ away).diagonal().max()) > 100 * EDM().level(0.001).sigma ** 2


@pytest.mark.parametrize("weight", [1.0, 0.6])
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: f"{level.sigma:.3g}")
def test_both_rules_are_their_formulas(level, weight):
    draws = Draws.of(4, range(3))
    truth, sigma, share = draws.at("truth").normal(SHAPE, F64), 0.1, 0.3
    likelihood = Gaussian.measure(operator(), truth, sigma, draws)
    x = draws.at("x").normal(SHAPE, F64)
    measured = Measured.of(likelihood, x)
    a, flat = operator().matrix, x.flatten(1)
    z = draws.at("state").normal(SHAPE, F64).flatten(1)
    noised = level.alpha * likelihood.y + level.sigma * z @ a.T - flat @ a.T
    expected = flat + weight * noised @ torch.linalg.pinv(a).T
    found = Published(weight)(measured, x, level, share, draws).flatten(1)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    noise = (level.alpha * sigma) ** 2 / share * torch.eye(7, dtype=F64)
    gain = level.sigma**2 * a.T @ torch.linalg.inv(level.sigma**2 * a @ a.T + noise)
    quiet = Quiet(draws.base, draws.index)
    found = Modelled(weight)(measured, x, level, share, quiet).flatten(1)
    mean = flat + weight * (level.alpha * likelihood.y - flat @ a.T) @ gain.T
    assert torch.allclose(found, mean, rtol=1e-9, atol=1e-9)
    system = operator().svd(SHAPE)
    s = system.values(x)
    spread = (level.sigma**2 * s * s + (2 / share - 1) * (level.alpha * sigma) ** 2) ** 0.5
    n = system.u(spread * draws.at("measurement").normal(tuple(s.shape[1:]), F64))
    found = Modelled(weight)(measured, x, level, share, draws).flatten(1)
    assert torch.allclose(found, mean + weight * n @ gain.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", [Modelled(), Published(0.8)])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_a_solve_gives_what_the_singular_system_gives(rule, sigma):
    draws = Quiet(torch.arange(3), torch.arange(3))
    of = Draws.of(4, range(3))
    well = Matrix(operator().matrix + torch.eye(7, 12, dtype=F64) * 3, SHAPE)
    truth = of.at("truth").normal(SHAPE, F64)
    likelihood = Gaussian.measure(well, truth, sigma, of)
    x, level = of.at("x").normal(SHAPE, F64), VP().level(0.3)
    found = []
    for measures in (well, without_system(well)):
        assert (measures.svd(SHAPE) is None) == (measures is not well)
        found.append(rule(Measured.of(Gaussian(measures, likelihood.y, sigma), x), x, level, 0.5, draws))
    assert torch.allclose(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", [Modelled(), Published()])
def test_at_clean_data_what_is_exact_is_met(rule):
    draws = Draws.of(4, range(2))
    mask = Mask(torch.arange(12).reshape(3, 4) % 2 > 0)
    x = draws.at("x").normal(SHAPE, F64)
    sigma = torch.tensor([0.0, 0.2], dtype=F64)
    likelihood = Gaussian(mask, mask(draws.at("truth").normal(SHAPE, F64)), sigma)
    found = rule(Measured.of(likelihood, x), x, CLEAN, 1.0, draws)
    assert torch.allclose(mask(found[:1]), likelihood.y[:1], rtol=0, atol=1e-12)
    if isinstance(rule, Modelled):
        assert torch.allclose(found[1:], x[1:], rtol=0, atol=1e-9)
    one = Measured.of(Gaussian(mask, likelihood.y, 0.2), x)
    assert torch.equal(Modelled()(one, x, CLEAN, 1.0, draws), x)


@dataclass(frozen=True)
class Shrinks(Denoiser):
    """The denoiser of N(0, 1/4) data; remembers at which levels it was asked."""

    path: GaussianPath
    seen: list[float]

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.seen.append(level.sigma)
        variance = 0.25
        scale = level.alpha * variance / (level.alpha**2 * variance + level.sigma**2)
        return Estimate.of_mean(x, level, scale * x)


def test_the_order_of_projections_corrector_and_predictor():
    """Song et al. (2022): project, correct, project, predict, at each level; project in full at the end."""
    done: list[tuple[str, float]] = []

    def rule(measured: Measured, x: Tensor, level: Level, share: float, draws: Draws) -> Tensor:
        done.append(("project", level.sigma))
        return x

    path = VE()
    draws = Draws.of(0, range(2))
    x = path.prior(draws.normal(SHAPE, F64))
    measured = Measured.of(Gaussian(operator(), operator()(x), 0.1), x)
    step = ProjectedStep(measured, ReverseDiffusion(), Langevin(), rule)
    levels = Karras()(path, 2)
    moves = step.plan(path, levels)
    assert [move.evaluations for move in moves] == [2, 2]
    denoiser = Shrinks(path, [])
    for move in moves:
        x, _ = step(denoiser, x, move, None, draws)
    first, second = (level.sigma for level in levels[:2])
    assert [at for _, at in done] == [first, first, second, second, 0.0]
    assert denoiser.seen == [first, first, second, second]
    assert evaluations(step, path, levels) == 4


def coils(count: int = 3) -> tuple[Tensor, Tensor]:
    draws = Draws.of(0, range(count))
    maps = torch.complex(draws.at("re").normal((6, 6), F64), draws.at("im").normal((6, 6), F64))
    return maps, torch.tensor([1, 0, 1, 1, 0, 1]).bool()[None].expand(6, 6)


def test_complex_measurements_of_several_coils():
    """SENSE with a real prior of two channels: no singular system, complex noise in both parts."""
    maps, mask = coils()
    measures = sense(maps, mask) @ ChannelsAsComplex()
    assert measures.svd((2, 6, 6)) is None
    draws, path = Draws.of(3, range(2)), EDM(0.01, 10.0)
    truth = 0.5 * draws.at("truth").normal((2, 6, 6), F64)
    start = path.prior(draws.at("prior").normal((2, 6, 6), F64))
    denoiser = Shrinks(path, [])
    exact = Gaussian(measures, measures(truth), 0.0)
    found = ProjectedScore().restore(denoiser, exact, start, 8, draws)
    assert float(exact.residual(found).abs().max()) < 1e-5
    noisy = Gaussian.measure(measures, truth, 0.3, draws)
    found = ProjectedScore().restore(denoiser, noisy, start, 60, draws)
    assert 0.4 < float(noisy.chi2(found).mean()) < 1.8
    published = ProjectedScore.published().restore(denoiser, noisy, start, 60, draws)
    assert float(noisy.chi2(published).mean()) < float(noisy.chi2(found).mean())


def test_colours_of_a_grey_picture():
    """Controllable generation: the mean of channels is kept, the rest is drawn."""
    measures = ColourMix(torch.full((1, 3), 1 / 3, dtype=F64))
    draws, path = Draws.of(3, range(2)), VE(0.01, 10.0)
    grey = measures(0.5 * draws.at("truth").normal((3, 4, 4), F64))
    start = path.prior(draws.at("prior").normal((3, 4, 4), F64))
    method = ProjectedScore.controllable()
    found = method.restore(Shrinks(path, []), Gaussian(measures, grey, 0.0), start, 40, draws)
    assert torch.allclose(measures(found), grey, rtol=0, atol=1e-9)
    assert float((found - found.mean(1, keepdim=True)).std()) > 0.05
    assert method.predictor == ReverseDiffusion() and isinstance(method.corrector, Langevin)


def test_what_cannot_be_projected_is_refused():
    draws, path = Draws.of(3, range(2)), EDM()
    x = draws.normal(SHAPE, F64)
    method = ProjectedScore(predictor=DDPM)
    with pytest.raises(UserError, match="not linear"):
        method.restore(Shrinks(path, []), Gaussian(Magnitude(operator()), operator()(x).abs(), 0.1), x, 4, draws)
    with pytest.raises(UserError, match="Laplace"):
        method.restore(Shrinks(path, []), Laplace(operator(), operator()(x), 0.1), x, 4, draws)
    for rule, weight in itertools.product((Modelled, Published), (0.0, 1.5)):
        with pytest.raises(UserError, match="weight λ"):
            rule(weight)


def test_noise_renewed_between_projections_lets_what_is_hidden_agree_with_what_is_seen():
    """A pair that is (1, 1) or (−1, −1), of which one half is seen with noise of its own for each item."""
    half, means = torch.full((2,), 0.5, dtype=F64), torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=F64)
    covariances = 0.1**2 * torch.eye(2, dtype=F64).expand(2, 2, 2)
    prior = MixtureDenoiser(Mixture.of_covariances(half, means, covariances), EDM(0.002, 20.0))
    draws, sigma = Draws.of(6, range(1000)), torch.full((1000,), 0.3, dtype=F64)
    start = prior.path.prior(draws.at("prior").normal((2,), F64))
    seen = Gaussian(Mask(torch.tensor([True, False])), torch.tensor([[0.9, 0.0]], dtype=F64), 0.3)
    each = Gaussian(seen.operator, seen.y.expand(1000, 2), sigma)
    found = ProjectedScore().restore(prior, seen, start, 40, draws)
    assert torch.allclose(found, ProjectedScore().restore(prior, each, start, 40, draws), rtol=0, atol=1e-9)
    kept = ProjectedScore(predictor=DDPM).restore(prior, seen, start, 40, draws)
    assert int((found[:, 1] < 0).sum()) < 0.5 * int((kept[:, 1] < 0).sum())
