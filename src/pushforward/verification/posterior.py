"""T24, T27: what makes posteriors exact, each part against an independent truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import Gaussian, Matrix, NonLinear, condition
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Interval, Posterior, SplitGibbs, Splitting, UnknownNoise
from pushforward.posterior.chebyshev import root_of_rest
from pushforward.posterior.stein import posterior_score
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import double, largest

F64 = torch.float64
SIGMA = 0.3


def noise(purpose: str, *shape: int, batch: int = 1) -> Tensor:
    """Counted standard normals, float64."""
    return Draws.of(0, range(batch), purpose).normal(shape, F64)


OPERATOR = Matrix(noise("split operator", 4, 6)[0])


class Told(Draws):
    """Draws of one standard normal that is told, for all."""

    def __init__(self, value: Tensor) -> None:
        super().__init__(torch.zeros(len(value), dtype=torch.int64), torch.arange(len(value)))
        object.__setattr__(self, "value", value)

    def normal_like(self, x: Tensor) -> Tensor:
        return self.value  # type: ignore[attr-defined]


def law_of_z(make: type[Splitting] = Splitting) -> float:
    """Mean and covariance of z | x, y: z is linear in its noise, so that unit noises give both exactly."""
    rows = torch.cat((torch.zeros(1, 6, dtype=F64), torch.eye(6, dtype=F64)))
    x = noise("split x", 6).expand(7, 6)
    seen = Gaussian(OPERATOR, noise("split y", 4).expand(7, 4), SIGMA)
    split = make(seen, (6,))
    z = split.noisy(x, split.last, Told(rows)).numpy()
    a, rho = OPERATOR.matrix.numpy(), float(split.last)
    mean = x[0].numpy() + rho**2 / SIGMA**2 * a.T @ (seen.y[0].numpy() - a @ x[0].numpy())
    root = z[1:] - z[0]
    covariance = rho**2 * (np.eye(6) - rho**2 / SIGMA**2 * a.T @ a)
    return largest(z[0] - mean, root.T @ root - covariance)


def polynomial_root() -> float:
    """√(I − M) v by products with M alone against NumPy's eigenvectors."""
    a = OPERATOR.matrix.numpy()
    m = 0.9025 * a.T @ a / np.linalg.norm(a, 2) ** 2
    values, vectors = np.linalg.eigh(np.eye(6) - m)
    v = noise("root", 6, batch=3)
    exact = v.numpy() @ (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return largest(root_of_rest(lambda u: u @ torch.from_numpy(m), v, 0.9025).numpy() - exact)


def score_of_z() -> float:
    """∇ log p(z | y) of a Gaussian prior against the normal equations of z."""
    root = noise("prior", 6, 6)[0].numpy() / 2
    prior = root @ root.T + 0.1 * np.eye(6)
    mixture = Mixture.of_covariances(double(1.0), torch.zeros(1, 6, dtype=F64), torch.from_numpy(prior)[None])
    split = Splitting(Gaussian(OPERATOR, noise("split y", 4), SIGMA), (6,), 0.7)
    z, rho, a = noise("z", 6), float(split.last), OPERATOR.matrix.numpy()
    found = posterior_score(split, MixtureDenoiser(mixture, EDM()), z, split.last).numpy()
    spread = SIGMA**2 * np.eye(4) - rho**2 * a @ a.T
    pull = a.T @ np.linalg.solve(spread, (split.gaussian.y.numpy() - z.numpy() @ a.T)[0])
    return largest(found[0] - (pull - np.linalg.solve(prior + rho**2 * np.eye(6), z.numpy()[0])))


TWO = Mixture.of_covariances(double(0.4, 0.6), double(-1.0, 1.2)[:, None], double(0.2, 0.3)[:, None, None])
ROWS, RULE = 500, SplitGibbs(12)


def sweeps(rule: SplitGibbs = RULE) -> Finding:
    """Exact draws of a mixture's posterior after four sweeps: Kolmogorov's distance in units of 1.63/√n (p = 1 %)."""
    seen = Gaussian(Matrix(torch.ones(1, 1, dtype=F64)), torch.tensor([[0.3]], dtype=F64), 0.5)
    [posterior] = condition(TWO, seen)
    start = posterior.sample(Draws.of(1, range(ROWS)))
    many = seen.select(torch.zeros(ROWS, dtype=torch.int64))
    moved = rule.moved(MixtureDenoiser(TWO, EDM(0.002, 20.0)), many, start, 4, Draws.of(2, range(ROWS)))
    x = moved.x[:, 0].numpy()
    variances = posterior.spreads[:, 0] + posterior.floors
    parts = zip(posterior.weights, posterior.means[:, 0], variances, strict=True)
    cumulative = sum(float(w) * stats.norm.cdf(np.sort(x), float(m), math.sqrt(float(v))) for w, m, v in parts)
    return _kolmogorov(np.asarray(cumulative))


def tested(rule: SplitGibbs = RULE) -> Finding:
    """The tested move for y = x² + noise: draws of the law by quadrature, after four sweeps."""
    seen = Gaussian(NonLinear(torch.square), torch.tensor([[1.3]], dtype=F64), SIGMA)
    grid = np.linspace(-5, 5, 4001)
    density = 0.4 * stats.norm.pdf(grid, -1.0, 0.2**0.5) + 0.6 * stats.norm.pdf(grid, 1.2, 0.3**0.5)
    density = density * np.exp(-0.5 * ((1.3 - grid**2) / SIGMA) ** 2)
    cumulative = density.cumsum() / density.sum()
    start = torch.from_numpy(np.interp(Draws.of(3, range(ROWS)).uniform((1,), F64).numpy(), cumulative, grid))
    many = seen.select(torch.zeros(ROWS, dtype=torch.int64))
    moved = rule.moved(MixtureDenoiser(TWO, EDM(0.002, 20.0)), many, start, 4, Draws.of(4, range(ROWS)))
    return _kolmogorov(np.interp(np.sort(moved.x[:, 0].numpy()), grid, cumulative))


def _kolmogorov(uniform: np.ndarray) -> Finding:
    n = len(uniform)
    distance = float(np.abs(uniform - (np.arange(n) + 0.5) / n).max())
    return Finding(distance * math.sqrt(n) / 1.63, f"distance {distance:.3f} of {n} draws")


def noise_level() -> float:
    """Draws of σ given x against SciPy's inverse-gamma law: Kolmogorov's distance in units of 1.63/√n."""
    n, law = 2000, UnknownNoise(1.5, 0.3)
    x, y = noise("level x", 6).expand(n, 6), noise("level y", 4)
    drawn = law.draw(Gaussian(OPERATOR, y.expand(n, 4), 1.0), x, Draws.of(5, range(n))).numpy() ** 2
    square = float(((y - OPERATOR(x[:1])) ** 2).sum())
    exact = stats.invgamma(1.5 + 2, scale=0.3 + square / 2)
    return stats.kstest(drawn, exact.cdf).statistic * math.sqrt(n) / 1.63


def central(drawn: Tensor) -> Interval:
    return Posterior(drawn, 1.0).interval(0.8)


def ranked_intervals(interval: Callable[[Tensor], Interval] = central) -> float:
    """How often a further draw lies in the central 80 % interval of nine: its error, in standard errors."""
    items = 20_000
    drawn, truth = noise("interval", items, 1, batch=9), noise("interval truth", items, 1)[0]
    held = float(interval(drawn).holds(truth).double().mean())
    return (held - 0.8) / math.sqrt(0.8 * 0.2 / items)


CHECKS = (
    Check("noise splitting", "T24", "mean and covariance of z | x, y in closed form", 1e-10, law_of_z),
    Check("roots by products alone", "T24", "√(I − M) v against NumPy's eigenvectors", 1e-10, polynomial_root),
    Check("the score of a split posterior", "T24", "against the normal equations", 1e-8, score_of_z),
    Check("sweeps leave a posterior as it is", "T24", "four sweeps from exact draws; 1 % level", 1.0, sweeps),
    Check("tested moves leave a posterior as it is", "T24", "against quadrature; 1 % level", 1.0, tested),
    Check("an unknown noise level", "T24", "σ | x, y against the inverse-gamma law; 1 % level", 1.0, noise_level),
    Check("intervals of few draws", "T24", "coverage by ranks, in standard errors", 3.3, ranked_intervals),
)
