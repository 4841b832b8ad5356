"""A multistep solver unrolled: its endpoint as a differentiable function of its times and coefficients.

These are n nodes log(σ/α), n + 1 numbers α_i and n (n + 1)/2 corrections to the β_ij that exponential Adams-Bashforth
implies on those nodes; `sampler` reads them as the `Tuned` step that runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.numerics.broadcast import expand
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers.tuned import Tuned

_POINTS, _MASS = map(torch.from_numpy, np.polynomial.legendre.leggauss(24))


class Coefficients(nn.Module):
    """What is fitted. Nodes are shares of the range of log σ/α, so that they decrease and stay on the path."""

    def __init__(self, ends: tuple[float, float], sigma_data: float, log_ratios: Sequence[float], order: int) -> None:
        super().__init__()
        self.ends, self.sigma_data, self.order = ends, sigma_data, order
        gaps = [high - low for high, low in itertools.pairwise((ends[0], *log_ratios, ends[1]))]
        n = len(log_ratios)
        self.gaps = nn.Parameter(torch.log(torch.tensor(gaps, dtype=torch.float64)))
        self.keeps = nn.Parameter(torch.zeros(n + 1, dtype=torch.float64))
        self.corrections = nn.Parameter(torch.zeros(n, n, dtype=torch.float64))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """log σ/α of the nodes (n,), α (n + 1,), β (n, n) lower triangular."""
        shares = torch.cumsum(torch.softmax(self.gaps, 0), 0)[:-1]
        nodes = self.ends[0] + (self.ends[1] - self.ends[0]) * shares
        implied = torch.cumsum(adams_rows(nodes - math.log(self.sigma_data), self.order), 0)
        return nodes, 1 + self.keeps, implied + self.corrections.tril()

    @torch.no_grad()
    def sampler(self, start: float) -> Tuned:
        nodes, keeps, weights = self()
        rows = tuple(tuple(row[: i + 1].tolist()) for i, row in enumerate(weights))
        return Tuned(self.sigma_data, start, tuple(nodes.exp().tolist()), tuple(keeps.tolist()), rows)


def adams_rows(tau: Tensor, order: int) -> Tensor:
    """What each interval adds to y, as weights of F at the nodes τ = log(σ/(ασ_data)): (n, n), differentiable.

    ∫ ℓ_j dφ for the Lagrange polynomials in τ of the last `order` nodes, φ = atan e^τ; from the last node to σ = 0,
    where F is proportional to φ, half of φ_n F_n.
    """
    n = len(tau)
    rows = []
    for i in range(n - 1):
        begin = max(0, i + 1 - order)
        known, half = tau[begin : i + 1], (tau[i] - tau[i + 1]) / 2
        at = tau[i + 1] + half * (_POINTS + 1)
        weight = half * _MASS * 0.5 / torch.cosh(at)
        basis = [
            torch.stack(
                [(at - r) / (known[j] - r) for k, r in enumerate(known) if k != j] or [torch.ones_like(at)]
            ).prod(0)
            for j in range(len(known))
        ]
        row = torch.stack([(weight * values).sum() for values in basis])
        rows.append(torch.cat((tau.new_zeros(begin), row, tau.new_zeros(n - i - 1))))
    rows.append(torch.cat((tau.new_zeros(n - 1), torch.atan(torch.exp(tau[-1:])) / 2)))
    return torch.stack(rows)


def levels_on(path: GaussianPath, log_ratios: Tensor) -> list[Level]:
    """The levels with these log σ/α (n,), 0-d tensors, differentiable in them: t by the rule for inverses."""
    wanted = -log_ratios
    t = path.time(wanted.detach())
    (alpha, sigma), (alpha_rate, sigma_rate) = path.scales(t), path.rates(t)
    slope = alpha_rate / alpha - sigma_rate / sigma
    t = t + (wanted - wanted.detach()) / slope
    return [Level(*scales) for scales in zip(t, *path.scales(t), strict=True)]


def unrolled(denoiser: Denoiser, x: Tensor, coefficients: Coefficients) -> Tensor:
    """The endpoints (B, …) of starts x at t_max, differentiable in the coefficients."""
    path, sigma_data = denoiser.path, coefficients.sigma_data
    nodes, keeps, weights = coefficients()
    levels = levels_on(path, nodes)
    prediction = EDMPrediction(sigma_data)
    start = x * prediction.input_scale(path.level(path.t_max))
    values: list[Tensor] = []
    y = start * expand(keeps[0], x)
    for i, level in enumerate(levels):
        a, b = prediction.target_scales(level)
        at = denoiser.estimate(y / expand(prediction.input_scale(level), y), level)
        values.append(at.read(a, b))
        y = start * expand(keeps[i + 1], x)
        for weight, value in zip(weights[i], values, strict=False):
            y = y + expand(weight, x) * value
    return y * sigma_data
