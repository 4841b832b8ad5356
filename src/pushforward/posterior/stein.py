"""Are these draws of p(x | y)? The kernel Stein discrepancy asks the scores alone: no truth, no exact draws.

Scores of data without noise are not known to a diffusion model. But noise can be split: if x ~ p(x | y), then z drawn
from z | x, y has the law p_ρ(z) N(y; A z, Σ − ρ²AA*)/p(y), whose score is that of the model at level ρ plus a linear
term, both exact. The discrepancy of z, by an inverse multiquadric kernel, is zero on average for right draws
(Liu, Lee & Jordan 2016; Gorham & Mackey 2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.posterior.answer import Posterior
from pushforward.posterior.splitting import Splitting

_LEVEL = 0.7
"""ρ‖A‖/σ at which draws are compared: far enough from 1 for the linear term to be small."""
_REPLICAS = 300


class Stein(NamedTuple):
    """KSD² of each item's draws, (B,), and the share of replicas of right draws that are as large, (B,)."""

    value: Tensor
    p_value: Tensor


@torch.no_grad()
def stein_test(answer: Posterior, denoiser: Denoiser, draws: Draws) -> Stein:
    """For Gaussian noise on linear operators; one evaluation of the network per draw; `draws` has one key per item.

    Raises UserError for other likelihoods, and for σ = 0.
    """
    answer = answer.resampled()
    assert answer.likelihood is not None
    samples, items = answer.samples.shape[:2]
    rows = torch.arange(items).repeat(samples)
    likelihood = answer.likelihood.select(rows)
    split = Splitting(likelihood, tuple(answer.samples.shape[2:]), _LEVEL)
    rho = split.last
    keys = torch.cat([draws.at("sample", j).base for j in range(samples)])
    z = split.noisy(answer.samples.flatten(0, 1), rho, Draws(keys, torch.arange(len(keys))))
    score = posterior_score(split, denoiser.rows(rows), z, rho)
    shaped = (v.flatten(1).double().unflatten(0, (samples, items)) for v in (z, score))
    point, slope = shaped
    found = [discrepancy(point[:, i], slope[:, i], draws[torch.tensor([i])].at("replicas")) for i in range(items)]
    return Stein(torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found]))


def posterior_score(split: Splitting, denoiser: Denoiser, z: Tensor, rho: Tensor) -> Tensor:
    """∇_z log p(z | y) at the level ρ of the split, () or (B,): (B, …)."""
    path = denoiser.path
    level = path.level(path.time(-rho.log()) if rho.ndim else float(path.time(-rho.log())))
    mean = denoiser.estimate(expand(level.alpha, z) * z, level).mean
    gain = split.operator.gain(split.gaussian.residual(z), -(rho.to(z.real.dtype) ** 2), split.sigma.to(z.real) ** 2)
    return (mean - z) / expand(rho.to(z.real.dtype) ** 2, z) + gain


def _whitened(x: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Points and scores in the coordinates of the points' covariance, drawn towards a multiple of I for small S."""
    samples, dim = x.shape
    covariance = torch.atleast_2d(x.T.cov())
    shrink = dim / (dim + samples)
    eye = covariance.diagonal().mean() * torch.eye(dim, dtype=x.dtype)
    root = torch.linalg.cholesky((1 - shrink) * covariance + (shrink + 1e-6) * eye)
    return torch.linalg.solve_triangular(root, x.T, upper=False).T, score @ root


def discrepancy(x: Tensor, score: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """The U-statistic KSD² of points x (S, D) with scores (S, D), and its p-value by multinomial replicas."""
    samples, dim = x.shape
    x, score = _whitened(x, score)
    away = x[:, None] - x[None]
    square = away.square().sum(-1)
    width = square[~torch.eye(samples, dtype=torch.bool)].median()
    base = 1 + square / width
    root = base**-0.5
    slope = -(base**-1.5) / width  # k = base^{-1/2}; ∇_x k = slope · away, ∇_y k = −slope · away
    crossed = torch.einsum("ijd,id->ij", away, score) - torch.einsum("ijd,jd->ij", away, score)
    trace = -3 * base**-2.5 / width**2 * square - slope * dim
    stein = root * (score @ score.T) - slope * crossed + trace
    stein.fill_diagonal_(0)
    value = stein.sum() / (samples * (samples - 1))
    picks = draws.integers(samples, (_REPLICAS, samples))[0]
    counts = torch.zeros(_REPLICAS, samples, dtype=x.dtype).scatter_add_(
        1, picks, torch.ones_like(picks, dtype=x.dtype)
    )
    weights = counts / samples - 1 / samples
    replicas = ((weights @ stein) * weights).sum(1)
    return value, (1 + (replicas >= value * (samples - 1) / samples).sum()) / (_REPLICAS + 1)
