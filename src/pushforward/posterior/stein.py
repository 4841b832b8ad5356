"""Are these draws of p(x | y)? The kernel Stein discrepancy asks the scores alone: no truth, no exact draws.

Scores of data without noise are not known to a diffusion model. But noise can be split: if x ~ p(x | y), then z drawn
from z | x, y has the law p_ρ(z) N(y; A z, Σ − ρ²AA*)/p(y), whose score is that of the model at level ρ plus a linear
term, both exact. The discrepancy of z, by an inverse multiquadric kernel, is zero on average for right draws
(Liu, Lee & Jordan 2016; Gorham & Mackey 2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.posterior.answer import Posterior
from pushforward.posterior.reverse import Reverse
from pushforward.posterior.splitting import Splitting

_LEVEL = 0.7
"""ρ‖A‖/σ at which draws are compared: far enough from 1 for the linear term to be small."""
_REPLICAS = 300


class Stein(NamedTuple):
    """KSD² of each item's draws, (B,), and the share of replicas of right draws that are as large, (B,)."""

    value: Tensor
    p_value: Tensor

    @property
    def combined(self) -> float:
        """The p-value of all items together: Student's, of a mean above 0, as that of right draws is 0 exactly."""
        if len(self.value) < 2:
            return float(self.p_value[0])
        return float(stats.ttest_1samp(self.value.cpu().numpy(), 0.0, alternative="greater").pvalue)


@torch.no_grad()
def stein_test(answer: Posterior, denoiser: Denoiser, draws: Draws, at_once: int = 256) -> Stein:
    """For Gaussian noise on linear operators; one evaluation of the network per draw; `draws` has one key per item.

    Draws of an item are taken to be independent, as ends of chains are; those of a crowd are nearly so. Raises
    UserError for other likelihoods, for σ = 0, for noise below what the prior knows, and for fewer than eight
    draws.
    """
    answer = answer.resampled()
    if answer.likelihood is None:
        raise UserError("the Stein test asks the measurement of each item: give the answer its likelihood")
    samples, items = answer.samples.shape[:2]
    if samples < 8:
        raise UserError(f"the Stein test compares at least eight draws of an item with one another; got {samples}")
    device = answer.samples.device
    index = torch.arange(items, device=device).repeat(samples)
    keys = torch.cat([draws.at("sample", j).base for j in range(samples)])
    flat, found = answer.samples.flatten(0, 1), []
    for rows in torch.arange(len(index), device=device).split(at_once):
        split = Splitting(answer.likelihood.select(index[rows]), tuple(flat.shape[1:]), _LEVEL)
        Reverse(denoiser).require(split.last)
        z = split.noisy(flat[rows], split.last, Draws(keys[rows], rows))
        score = posterior_score(split, denoiser.rows(index[rows]), z, split.last)
        found.append(torch.stack((z.flatten(1).double(), score.flatten(1).double())))
    point, slope = torch.cat(found, 1).unflatten(1, (samples, items))
    root = _spread_root(point)
    told = [
        discrepancy(point[:, i], slope[:, i], root, draws[torch.tensor([i], device=device)].at("replicas"))
        for i in range(items)
    ]
    return Stein(torch.stack([t[0] for t in told]), torch.stack([t[1] for t in told]))


def posterior_score(split: Splitting, denoiser: Denoiser, z: Tensor, rho: Tensor) -> Tensor:
    """∇_z log p(z | y) at the level ρ of the split, () or (B,): (B, …)."""
    path = denoiser.path
    level = path.level(path.time(-rho.log()) if rho.ndim else float(path.time(-rho.log())))
    mean = denoiser.estimate(expand(level.alpha, z) * z, level).mean
    gain = split.operator.gain(split.gaussian.residual(z), -(rho.to(z.real.dtype) ** 2), split.sigma.to(z.real) ** 2)
    return (mean - z) / expand(rho.to(z.real.dtype) ** 2, z) + gain


def _spread_root(point: Tensor) -> Tensor:
    """Cholesky's factor of the covariance of draws (S, B, D) within items, drawn towards a multiple of I: (D, D).

    Of all items together: a kernel fitted to an item's own few draws would find them as they should be.
    """
    samples, items, dim = point.shape
    away = (point - point.mean(0)).flatten(0, 1)
    free = items * (samples - 1)
    covariance = away.T @ away / free
    shrink = dim / (dim + free)
    eye = covariance.diagonal().mean() * torch.eye(dim, dtype=point.dtype, device=point.device)
    return torch.linalg.cholesky((1 - shrink) * covariance + (shrink + 1e-6) * eye)


def discrepancy(x: Tensor, score: Tensor, root: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """The U-statistic KSD² of points x (S, D) with scores (S, D), and its p-value by multinomial replicas.

    The kernel measures distances in units of `root` (D, D), a factor of a covariance.
    """
    samples, dim = x.shape
    x, score = torch.linalg.solve_triangular(root, x.T, upper=False).T, score @ root
    away = x[:, None] - x[None]
    square = away.square().sum(-1)
    width = square[~torch.eye(samples, dtype=torch.bool, device=x.device)].median()
    base = 1 + square / width
    root = base**-0.5
    slope = -(base**-1.5) / width  # k = base^{-1/2}; ∇_x k = slope · away, ∇_y k = −slope · away
    crossed = torch.einsum("ijd,id->ij", away, score) - torch.einsum("ijd,jd->ij", away, score)
    trace = -3 * base**-2.5 / width**2 * square - slope * dim
    stein = root * (score @ score.T) - slope * crossed + trace
    stein.fill_diagonal_(0)
    value = stein.sum() / (samples * (samples - 1))
    picks = draws.integers(samples, (_REPLICAS, samples))[0]
    counts = torch.zeros(_REPLICAS, samples, dtype=x.dtype, device=x.device).scatter_add_(
        1, picks, torch.ones_like(picks, dtype=x.dtype)
    )
    weights = counts / samples - 1 / samples
    replicas = ((weights @ stein) * weights).sum(1)
    return value, (1 + (replicas >= value * (samples - 1) / samples).sum()) / (_REPLICAS + 1)
