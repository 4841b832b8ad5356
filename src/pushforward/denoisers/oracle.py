"""The oracle: exact denoising of Gaussian mixtures, against which everything is tested before a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True)
class Mixture:
    """Σ_k w_k N(m_k, U_k diag(e_k) U_kᵀ + s_k² I) on vectors of dimension D.

    weights (K,), means (K, D), bases U (K, D, r) with orthonormal columns, spreads e (K, r) ≥ 0, floors s² (K,) ≥ 0.
    Full covariances have r = D and s² = 0; a mixture of points has r = 0 and s² = 0.
    """

    weights: Tensor
    means: Tensor
    bases: Tensor
    spreads: Tensor
    floors: Tensor

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if (
            self.weights.shape != (k,)
            or self.bases.shape[:2] != (k, d)
            or self.spreads.shape != (k, self.bases.shape[2])
        ):
            raise UserError(
                "a mixture needs weights (K,), means (K, D), bases (K, D, r), spreads (K, r) and floors (K,)"
            )
        if not bool((self.weights > 0).all()):
            raise UserError("the weights of a mixture must be positive")

    @staticmethod
    def of_covariances(weights: Tensor, means: Tensor, covariances: Tensor) -> Mixture:
        """From covariances: full (K, D, D), diagonal (K, D) or isotropic variances (K,)."""
        k, d = means.shape
        if covariances.ndim == 1:
            return Mixture(weights / weights.sum(), means, means.new_zeros(k, d, 0), means.new_zeros(k, 0), covariances)
        if covariances.ndim == 2:
            values, bases = covariances, torch.eye(d, dtype=means.dtype).expand(k, d, d)
        else:
            values, bases = torch.linalg.eigh(covariances)
        if not bool((values >= -1e-10 * values.abs().max()).all()):
            raise UserError("a covariance of the mixture has a negative eigenvalue")
        return Mixture(weights / weights.sum(), means, bases, values.clamp(min=0), means.new_zeros(k))

    @staticmethod
    def of_points(points: Tensor, weights: Tensor | None = None) -> Mixture:
        """The empirical measure of a data set (N, …), flattened to vectors."""
        means = points.flatten(1)
        n, d = means.shape
        weights = means.new_full((n,), 1 / n) if weights is None else weights / weights.sum()
        return Mixture(weights, means, means.new_zeros(n, d, 0), means.new_zeros(n, 0), means.new_zeros(n))

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    def to(self, dtype: torch.dtype) -> Mixture:
        return Mixture(*(x.to(dtype) for x in (self.weights, self.means, self.bases, self.spreads, self.floors)))

    def mean(self) -> Tensor:
        """E[x]: (D,)."""
        return self.weights @ self.means

    def covariance(self) -> Tensor:
        """Cov[x]: (D, D)."""
        within = torch.einsum("k,kdr,kr,ker->de", self.weights, self.bases, self.spreads, self.bases)
        within = within + (self.weights @ self.floors) * torch.eye(self.dim, dtype=within.dtype)
        centred = self.means - self.mean()
        return within + torch.einsum("k,kd,ke->de", self.weights, centred, centred)

    def sample(self, draws: Draws) -> Tensor:
        """One draw per key: (B, D)."""
        pick = draws.at("component").uniform((), torch.float64)
        k = torch.searchsorted(torch.cumsum(self.weights.double(), 0), pick).clamp(max=len(self.weights) - 1)
        inner = draws.at("inner").normal((self.bases.shape[2],), self.means.dtype)
        outer = draws.at("outer").normal((self.dim,), self.means.dtype)
        along = torch.einsum("bdr,br->bd", self.bases[k], torch.sqrt(self.spreads[k]) * inner)
        return self.means[k] + along + torch.sqrt(self.floors[k])[:, None] * outer


@dataclass(frozen=True)
class MixtureDenoiser(Denoiser):
    """The exact denoiser of a Gaussian mixture on any path: mean, variance, score and log p_t in closed form.

    x_t given component k is N(α m_k, α²C_k + σ²I); its posterior mean is m_k + αC_k(α²C_k + σ²)⁻¹(x − αm_k).
    States are (B, D) or (B, *shape) with prod(shape) = D. Cost O(B K D (1 + r)).
    """

    mixture: Mixture
    path: GaussianPath

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        parts = self._parts(x, level)
        mean = torch.einsum("bk,bkd->bd", parts.responsibilities, parts.means)

        def variance() -> Tensor:
            within = self._component_variance(parts)
            second = torch.einsum("bk,bkd->bd", parts.responsibilities, within + parts.means**2)
            return (second - mean**2).reshape(x.shape)

        return Estimate.of_mean(x, level, mean.reshape(x.shape), variance)

    def log_prob(self, x: Tensor, t: Scalar | Level) -> Tensor:
        """log p_t(x_t) in nats: (B,). At t of zero noise every component needs a non-singular covariance."""
        return torch.logsumexp(self._parts(x, self.path.level(t)).log_joint, 1)

    def responsibilities(self, x: Tensor, t: Scalar | Level) -> Tensor:
        """p(component | x_t): (B, K)."""
        return self._parts(x, self.path.level(t)).responsibilities

    def _parts(self, x: Tensor, level: Level) -> _Parts:
        m = self.mixture.to(x.dtype) if self.mixture.means.dtype != x.dtype else self.mixture
        alpha, sigma = _columns(level.alpha, x), _columns(level.sigma, x)
        centred = x.flatten(1)[:, None, :] - alpha * m.means  # (B, K, D)
        outer = alpha[..., 0] ** 2 * m.floors + sigma[..., 0] ** 2  # (B|1, K): variance off the basis
        inner = outer[..., None] + alpha**2 * m.spreads  # (B|1, K, r): variance along the basis
        along = torch.einsum("bkd,kdr->bkr", centred, m.bases)
        rank = m.bases.shape[2]
        off = (centred**2).sum(-1) - (along**2).sum(-1) if rank < m.dim else torch.zeros_like(centred[..., 0])
        quadratic = (along**2 / inner).sum(-1) + (off.clamp(min=0) / outer if rank < m.dim else 0.0)
        log_det = (
            torch.log(inner).sum(-1) + (m.dim - rank) * torch.log(outer) if rank < m.dim else torch.log(inner).sum(-1)
        )
        log_joint = torch.log(m.weights) - 0.5 * (quadratic + log_det + m.dim * math.log(2 * math.pi))
        keep = m.floors / outer  # α C/(α²C + σ²) off the basis, over α
        extra = (m.spreads + m.floors[:, None]) / inner - keep[..., None]
        means = m.means + alpha * (keep[..., None] * centred + torch.einsum("bkr,kdr->bkd", extra * along, m.bases))
        return _Parts(m, log_joint, torch.softmax(log_joint, 1), means, keep * sigma[..., 0] ** 2, extra * sigma**2)

    @staticmethod
    def _component_variance(parts: _Parts) -> Tensor:
        """Diagonal of Cov[x_0 | x_t, k] = σ² C/(α²C + σ²): (B|1, K, D)."""
        return parts.off_variance[..., None] + torch.einsum(
            "bkr,kdr->bkd", parts.extra_variance, parts.mixture.bases**2
        )


@dataclass(frozen=True)
class _Parts:
    mixture: Mixture
    log_joint: Tensor
    responsibilities: Tensor
    means: Tensor
    off_variance: Tensor
    extra_variance: Tensor


def _columns(scalar: Scalar, x: Tensor) -> Tensor:
    """A scalar as (1, 1, 1) or one per sample as (B, 1, 1), in the dtype of x."""
    return torch.as_tensor(scalar, dtype=torch.float64).to(x).reshape(-1, 1, 1)
