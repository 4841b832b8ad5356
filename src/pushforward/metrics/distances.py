"""Distances between two sets of feature vectors; all take (N, F) and (M, F) and compute in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.metrics.checks import Samples, pair
from pushforward.numerics.random import key, normal


def covariance(x: Tensor) -> Tensor:
    """Σ (x − μ)(x − μ)ᵀ / (N − 1): (N, F) -> (F, F), for F = 1 too."""
    return torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def root(positive: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix; what rounding made negative counts as 0."""
    values, vectors = torch.linalg.eigh(positive)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def frechet_between(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    """|μ_x − μ_y|² + tr(Σ_x + Σ_y − 2 (Σ_x^½ Σ_y Σ_x^½)^½), the squared 2-Wasserstein distance of two Gaussians."""
    half = root(cov_x)
    shared = torch.linalg.eigvalsh(half @ cov_y @ half).clamp_min(0).sqrt().sum()
    return float((mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * shared)


def frechet_distance(x: Samples, y: Samples) -> float:
    """Fréchet distance (Heusel et al. 2017): `frechet_between` of the two sets' means and covariances.

    It is biased upwards by an amount that depends on N, M and F: compare only values at the same sizes.
    """
    a, b = pair(x, y)
    return frechet_between(a.mean(0), covariance(a), b.mean(0), covariance(b))


def _squared_quantile_distance(x: Tensor, y: Tensor) -> Tensor:
    """∫₀¹ (F⁻¹(u) − G⁻¹(u))² du for each row of x (P, N) and y (P, M), exact for any N and M."""
    n, m = x.shape[1], y.shape[1]
    x, y = x.sort(1).values, y.sort(1).values
    if n == m:
        return (x - y).square().mean(1)
    # Both quantile functions are constant between neighbouring multiples of 1/n and 1/m, counted in units of 1/(nm).
    edges = torch.cat((torch.arange(n + 1) * m, torch.arange(m + 1) * n)).unique()
    lower, widths = edges[:-1], edges.diff().to(x.dtype) / (n * m)
    return ((x[:, lower // m] - y[:, lower // n]).square() * widths).sum(1)


def sliced_wasserstein(x: Samples, y: Samples, projections: int = 256, seed: int = 0) -> float:
    """Sliced 2-Wasserstein distance, √ of the mean over random directions of the one-dimensional W₂².

    The directions are a pure function of (seed, projections, F) (Bonneel et al. 2015).
    """
    a, b = pair(x, y)
    base = torch.tensor([key(seed, "sliced-wasserstein")])
    directions = normal(base, (projections, a.shape[1]), torch.float64)[0]
    directions = directions / directions.norm(dim=1, keepdim=True)
    return float(_squared_quantile_distance(directions @ a.T, directions @ b.T).mean().sqrt())


def energy_distance(x: Samples, y: Samples) -> float:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| over all pairs, never negative (Székely & Rizzo 2013)."""
    a, b = pair(x, y)
    within = torch.cdist(a, a).mean() + torch.cdist(b, b).mean()
    return float((2 * torch.cdist(a, b).mean() - within).clamp_min(0))
