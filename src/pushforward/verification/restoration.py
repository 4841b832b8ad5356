"""T27 to T29: methods that move the state leave the laws that they must, by NumPy beside them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, Estimate, Mixture, MixtureDenoiser
from pushforward.inverse import (
    CCDF,
    DDRM,
    ChannelsAsComplex,
    Constant,
    Fixed,
    Function,
    Gaussian,
    Identity,
    LinearOperator,
    Matrix,
    Measured,
    Modelled,
    ProjectedScore,
    Projection,
    Published,
    PublishedGrid,
    RePaint,
    ReverseSDE,
    sense,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, GaussianPath, Karras, Straight
from pushforward.paths.gaussian import Level
from pushforward.samplers.step import evaluations
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import double, largest

F64 = torch.float64
SHAPE = (1, 3, 4)
DIM, SEEN = 12, 8
PATHS: tuple[GaussianPath, ...] = (VP(), EDM(), Straight())
SIGMA = 0.1


def noise(purpose: str, *shape: int, batch: int = 1) -> Tensor:
    """Counted standard normals, float64."""
    return Draws.of(0, range(batch), purpose).normal(shape, F64)


def operator() -> Matrix:
    """Eight of twelve components are measured, with singular values from 2 to 0.02."""
    u, _, vh = np.linalg.svd(noise("operator", SEEN, DIM)[0].numpy(), full_matrices=False)
    return Matrix(torch.from_numpy(u @ np.diag(np.geomspace(2, 0.02, SEEN)) @ vh), SHAPE)


@dataclass(frozen=True, eq=False)
class Told(Draws):
    """Draws of noise that is told: for the state, and for the measurement."""

    state: Tensor
    measured: Tensor

    def at(self, *parts: int | str) -> Told:
        return self

    def normal_like(self, x: Tensor) -> Tensor:
        return self.state if x.shape == self.state.shape else self.measured


@dataclass(frozen=True, eq=False)
class Knowing(Denoiser):
    """E[x_0 | x_t] = x_0: a step of it draws from q(x_s | x_t, x_0, y)."""

    path: GaussianPath
    truth: Tensor

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, self.truth.expand_as(x))


@dataclass(frozen=True, eq=False)
class Units:
    """One row per unit of noise: in the state, in y, fresh in the state, fresh in the measurement."""

    truth: Tensor
    state: Tensor
    measured: Gaussian
    draws: Told

    @staticmethod
    def of(level: Level) -> Units:
        parts = torch.eye(2 * (DIM + SEEN), dtype=F64).split([DIM, SEEN, DIM, SEEN], 1)
        rows = len(parts[0])
        truth = noise("truth", *SHAPE).expand(rows, *SHAPE)
        measured = Gaussian(operator(), operator()(truth) + SIGMA * parts[1], SIGMA)
        state = level.alpha * truth + level.sigma * parts[0].reshape(-1, *SHAPE)
        index = torch.arange(rows)
        return Units(truth, state, measured, Told(index, index, parts[2].reshape(-1, *SHAPE), parts[3]))

    def excess(self, found: Tensor, level: Level) -> float:
        """‖Cov[found | x_0] − σ² I‖ relative to σ²: found − α x_0 is linear in the units."""
        away = (found - level.alpha * self.truth).flatten(1).numpy()
        return largest((away.T @ away - level.sigma**2 * np.eye(DIM)) / level.sigma**2)


def marginals(method: DDRM) -> float:
    """q(x_s | x_0) of one step against N(α x_0, σ²), at levels where components are in each of the branches."""
    error = 0.0
    for path in PATHS:
        for ratio in (0.02, 0.3, 20.0):
            t, s = path.levels(path.time(-torch.log(double(1.5 * ratio, ratio))))
            units = Units.of(t)
            step = method.step(Measured.of(units.measured, units.state), units.state)
            found, _ = step(Knowing(path, units.truth), units.state, step.plan(path, (t, s))[0], None, units.draws)
            error = largest(error, units.excess(found, s))
    return error


MODELLED = Modelled()


def law_of_projection(rule: Projection = MODELLED) -> Finding:
    """q(x_t | x_0) after a projection against N(α x_0, σ²); the published rule beside it."""

    def worst(projection: Projection) -> float:
        error = 0.0
        for path in PATHS:
            for level in path.levels([0.05, 0.3, 0.9]):
                units = Units.of(level)
                measured = Measured.of(units.measured, units.state)
                error = largest(error, units.excess(projection(measured, units.state, level, 0.4, units.draws), level))
        return error

    return Finding(worst(rule), f"published rule {worst(Published()):.1e}")


@dataclass(frozen=True)
class Wavy(Denoiser):
    """A denoiser that is not linear."""

    path: GaussianPath

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, torch.tanh(x.roll(1, -1)) / (1 + level.sigma))


def transcribed(eta: float = 0.85, eta_b: float = 1.0, method: DDRM | None = None) -> float:
    """A whole run against equations 4 to 8 in NumPy, component by component, in the paper's state."""
    method, error = method or DDRM(Constant(eta), Fixed(eta_b), False, Karras()), 0.0
    u, s, vh = np.linalg.svd(operator().matrix.numpy())
    s = np.append(s, np.zeros(DIM - SEEN))
    for path in PATHS:
        draws, levels = Draws.of(3, range(1)), Karras()(path, 6)
        seen = Gaussian.measure(operator(), noise("truth", *SHAPE), SIGMA, draws)
        start = path.prior(noise("start", *SHAPE))
        found = method.restore(Wavy(path), seen, start, 6, draws)
        y = np.append(u.T @ seen.y[0].numpy(), np.zeros(DIM - SEEN)) / np.where(s > 0, s, 1)
        limit = np.where(s > 0, SIGMA / np.where(s > 0, s, 1), 1e300)  # σ_y / s_i
        a, b = levels[0].alpha, levels[0].sigma
        begin, first = (s > 0) & (a * limit <= b), vh @ start.numpy().ravel()
        known = a * y + np.sqrt(np.where(begin, b**2 - (a * np.where(begin, limit, 0)) ** 2, 0)) * first / b
        x = np.where(begin, known, first)
        for k, (t, r) in enumerate(itertools.pairwise(levels)):
            state = torch.from_numpy(vh.T @ x).reshape(1, *SHAPE)
            mean = vh @ Wavy(path).estimate(state, t).mean.numpy().ravel()
            z = vh @ draws.at(k).normal(SHAPE, F64).numpy().ravel() if r.sigma > 0 else np.zeros(DIM)
            rho, rest = r.sigma / r.alpha, math.sqrt(1 - eta**2)
            x = np.array(
                [
                    mean[i] + rest * rho * (x[i] - t.alpha * mean[i]) / t.sigma + eta * rho * z[i]
                    if s[i] == 0
                    else mean[i] + rest * rho * (y[i] - mean[i]) / limit[i] + eta * rho * z[i]
                    if rho < limit[i]
                    else (1 - eta_b) * mean[i] + eta_b * y[i] + math.sqrt(rho**2 - (eta_b * limit[i]) ** 2) * z[i]
                    for i in range(DIM)
                ]
            )
            x = r.alpha * x
        error = largest(error, found.numpy().ravel() - vh.T @ x)
    return error


BOTH = (DDRM(), DDRM.published())


def met_exactly(methods: tuple[DDRM, ...] = BOTH) -> float:
    """A x = y at the end where σ_y = 0."""
    error, path = 0.0, EDM()
    y = operator()(noise("truth", *SHAPE, batch=2))
    start = path.prior(noise("start", *SHAPE, batch=2))
    for method in methods:
        found = method.restore(Wavy(path), Gaussian(operator(), y, 0.0), start, 20, Draws.of(1, range(2)))
        error = largest(error, operator()(found) - y)
    return error


def denoising(count: int = 4000, steps: int = 150) -> Finding:
    """Everything measured with one σ: mean and variance of draws against Bayes' rule, in posterior deviations."""
    variance, sigma, y = 0.5, 0.6, double(0.8)
    prior = MixtureDenoiser(Mixture.of_covariances(double(1.0), double(0.0)[None], double(variance)), EDM(0.002, 20.0))
    draws = Draws.of(5, range(count))
    start = prior.path.prior(draws.at("prior").normal((1,), F64))
    found = DDRM().restore(prior, Gaussian(Identity(), y[None], sigma), start, steps, draws)
    exact = 1 / (1 / variance + 1 / sigma**2)
    mean = float(found.mean()) - exact * 0.8 / sigma**2
    return Finding(
        largest(mean / exact**0.5, 0.5 * (float(found.var()) / exact - 1)), f"variance {float(found.var()) / exact:.3f}"
    )


def solved() -> float:
    """Projections by conjugate gradients against those by the singular system, without the noise that each draws."""
    error, matrix = 0.0, Matrix(operator().matrix + 2 * torch.eye(SEEN, DIM, dtype=F64), SHAPE)
    bare: LinearOperator = Function(matrix, SHAPE, matrix.adjoint)
    x, level = noise("x", *SHAPE, batch=2), VP().level(0.3)
    quiet = Told(torch.arange(2), torch.arange(2), torch.zeros_like(x), torch.zeros(2, SEEN, dtype=F64))
    for rule in (Modelled(), Published(0.8)):
        both = [
            rule(Measured.of(Gaussian(a, noise("y", SEEN, batch=2), 1.0), x), x, level, 0.5, quiet)
            for a in (matrix, bare)
        ]
        error = largest(error, both[0] - both[1])
    return error


def several_coils() -> float:
    """Undersampled k-space of three coils without noise is met at the end: no singular system, complex numbers."""
    maps = torch.complex(noise("maps", 6, 6, batch=3), noise("maps i", 6, 6, batch=3))
    measures = sense(maps, (torch.arange(6) % 3 > 0)[None].expand(6, 6)) @ ChannelsAsComplex()
    seen = Gaussian(measures, measures(noise("truth", 2, 6, 6)), 0.0)
    path = EDM(0.01, 10.0)
    found = ProjectedScore().restore(Wavy(path), seen, path.prior(noise("z", 2, 6, 6)), 2, Draws.of(1, range(1)))
    return largest(seen.residual(found).abs())


def contraction() -> Finding:
    """Two first estimates draw nearer with each projection and step: at most λ^2N′ of their distance is left."""
    prior = MixtureDenoiser(
        Mixture.of_covariances(double(1.0), torch.zeros(1, DIM, dtype=F64), double(0.25)), EDM(0.01, 20.0)
    )
    seen = Gaussian.measure(operator(), noise("truth", *SHAPE), SIGMA, Draws.of(1, range(1)))
    start, ends = prior.path.prior(noise("z", *SHAPE)), []
    estimates: tuple[Callable[[Measured], Tensor], ...] = (
        lambda measured: noise("one", *SHAPE),
        lambda measured: noise("other", *SHAPE),
    )
    for first in estimates:
        ends.append(CCDF(first, 0.5).restore(prior, seen, start, 10, Draws.of(2, range(1))))
    apart = float((noise("one", *SHAPE) - noise("other", *SHAPE)).norm())
    left = float((ends[0] - ends[1]).norm()) / apart
    # The affine denoiser of N(0, v) shrinks by v/(v + ρ²) in one step, and by its product in all: the bound of NumPy.
    bound = 0.25 / (0.25 + 0.5**2)
    return Finding(max(0.0, left - bound), f"{left:.2f} of the distance is left, at most {bound:.2f}")


def schedule() -> float:
    """RePaint's way with T = 250, j = 10, r = 10 has 2410 evaluations."""
    path, x = VP(), noise("x", *SHAPE)
    step = RePaint.published().step(Measured.of(Gaussian(operator(), noise("y", SEEN), 0.0), x), x)
    return float(evaluations(step, path, PublishedGrid()(path, 250)) - 2410)


BRANCHES = {
    "published": DDRM.published(),
    "of theorem 3.2": DDRM.variational(),
    "of other η and η_b": DDRM(Constant(0.3), Fixed(0.4), False),
    "of the reverse SDE": DDRM(ReverseSDE(), Fixed(), False),
}

CHECKS = (
    *(
        Check(
            f"DDRM {name}: marginals in its three branches",
            "T27",
            "Cov[x_s | x_0] of one step against σ² I (proposition 3.1)",
            1e-10,
            partial(marginals, method),
        )
        for name, method in BRANCHES.items()
    ),
    Check("DDRM is its equations", "T27", "runs on three paths against equations 4 to 8 in NumPy", 1e-9, transcribed),
    Check("DDRM without noise meets the measurement", "T27", "A x at the end against y", 1e-9, met_exactly),
    Check("DDRM of a noisy picture draws from the posterior", "T27", "moments against Bayes' rule", 0.1, denoising),
    Check("RePaint's time travel", "T27", "evaluations against the published 2410", 0.0, schedule),
    Check("CCDF contracts", "T28", "distance of two runs against the bound for Gaussian data", 0.0, contraction),
    Check(
        "a projection with modelled noise keeps the law of x_t",
        "T29",
        "Cov[x_t | x_0] after it against σ² I",
        1e-10,
        law_of_projection,
    ),
    Check("projections by a solve", "T29", "against those by the singular system", 1e-6, solved),
    Check("k-space of three coils is met", "T29", "A x at the end against y, complex", 1e-6, several_coils),
)
