"""Where the prior is a Gaussian mixture and the measurement linear and Gaussian, the posterior is a mixture again.

Given y = A x + σ n, component k becomes N(m_k + G_k(y − A m_k), (I − G_k A) C_k) with the gain
G_k = C_k Aᵀ(A C_k Aᵀ + σ² I)⁻¹, and its weight is multiplied by N(y; A m_k, A C_k Aᵀ + σ² I). This is the truth that
every method is held against, and a prior of its own: for small items a fitted mixture restores exactly and at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.oracle import Mixture, MixtureDenoiser
from pushforward.denoisers.wrappers import Wrapper
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.paths.gaussian import Level


@dataclass(frozen=True, eq=False)
class _Measured:
    """y = M vec(x) + σ n in real numbers, without what was not measured: M (1|B, m, D), y (B, m), σ² (1|B,)."""

    matrix: Tensor
    y: Tensor
    noise: Tensor

    @staticmethod
    def of(likelihood: Likelihood, shape: Shape) -> _Measured:
        if not isinstance(likelihood, Gaussian) or not isinstance(likelihood.operator, LinearOperator):
            raise UserError("a mixture is conditioned on Gaussian noise and a linear operator alone")
        gaussian = likelihood.whitened()
        y = _real(gaussian.operator.measured(gaussian.y)).double()
        matrix = _real_matrix(gaussian.linear, shape, y.device)
        seen = (matrix != 0).any(2)
        if bool((seen == seen[:1]).all()):
            # Where all items are measured alike, rows of zeros are no equations.
            matrix, y = matrix[:, seen[0]], y[:, seen[0]]
        noise = torch.as_tensor(gaussian.sigma, dtype=torch.float64, device=y.device).reshape(-1) ** 2
        return _Measured(matrix, y, noise)

    def covariance(self, prior: Tensor) -> Tensor:
        """A C Aᵀ + σ² I: (1|B, K, m, m) for C (1|B, K, D, D); 1 in the place of 0 for rows without an equation."""
        a = self.matrix[:, None]
        total = a @ prior @ a.mT
        empty = ((self.matrix == 0).all(2) & (self.noise == 0)[:, None])[:, None].double()
        return total + torch.diag_embed(self.noise[:, None, None] + empty)


def _real(y: Tensor) -> Tensor:
    """Complex numbers as two real ones each, flattened: (B, m)."""
    return (torch.view_as_real(y.resolve_conj()) if y.is_complex() else y).flatten(1)


def _real_matrix(operator: LinearOperator, shape: Shape, device: torch.device) -> Tensor:
    """The operator as a matrix on real flattened items: (1|B, m, D), float64."""
    size, items = math.prod(shape), operator.items
    basis = torch.eye(size, dtype=torch.float64, device=device).reshape(size, *shape)
    if items is None:
        return _real(operator(basis)).T[None]
    columns = [_real(operator(column.expand(items, *shape))) for column in basis]
    return torch.stack(columns, 2)


@dataclass(frozen=True, eq=False)
class _Components:
    """Gaussians N(mean, covariance) with log-weights, one mixture per item: (B, K, D), (1|B, K, D, D), (B, K)."""

    means: Tensor
    covariances: Tensor
    log_weights: Tensor

    def given(self, seen: _Measured) -> _Components:
        """Conditioned on a measurement; the weights are joint with it, not normalised."""
        total = seen.covariance(self.covariances)
        root = torch.linalg.cholesky(total)
        cross = seen.matrix[:, None] @ self.covariances  # A C
        gain = torch.cholesky_solve(cross, root).mT
        residual = seen.y[:, None] - _times(seen.matrix[:, None], self.means)
        means = self.means + _times(gain, residual)
        eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device).expand_as(root)
        white = _times(torch.linalg.solve_triangular(root, eye, upper=False), residual)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        density = -0.5 * white.square().sum(-1) - log_det - 0.5 * residual.shape[-1] * math.log(2 * math.pi)
        covariances = self.covariances - gain @ cross
        return _Components(means, (covariances + covariances.mT) / 2, self.log_weights + density)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(1|B, 1|K, i, j) × (1|B, 1|K, j) -> (B, K, i); what is shared by all items is not copied for each."""
    if len(matrices) > 1:
        return (matrices @ vectors[..., None])[..., 0]
    shared = matrices[0]
    return vectors @ shared[0].T if len(shared) == 1 else torch.einsum("kij,bkj->bki", shared, vectors)


def _covariances(mixture: Mixture) -> Tensor:
    """(K, D, D), float64."""
    m = mixture.to(torch.float64)
    eye = torch.eye(m.dim, dtype=torch.float64, device=m.means.device)
    return torch.einsum("kdr,kr,ker->kde", m.bases, m.spreads, m.bases) + m.floors[:, None, None] * eye


def _prior(mixture: Mixture) -> _Components:
    return _Components(mixture.means.double()[None], _covariances(mixture)[None], mixture.weights.double().log()[None])


def condition(mixture: Mixture, likelihood: Likelihood, shape: Shape | None = None) -> tuple[Mixture, ...]:
    """p(x | y) for each measurement of the likelihood: one mixture each, in closed form, float64.

    `shape` is that of one item (default: (D,)). Raises UserError for likelihoods that are not linear and Gaussian.
    """
    found = _prior(mixture).given(_Measured.of(likelihood, shape or (mixture.dim,)))
    weights = found.log_weights.softmax(1)
    covariances = found.covariances.expand(len(weights), *found.covariances.shape[1:])
    made = []
    for weight, means, covariance in zip(weights, found.means, covariances, strict=True):
        # A weight that is 0 to the last bit has no place in a mixture.
        kept = weight > 0
        made.append(Mixture.of_covariances(weight[kept], means[kept], covariance[kept]))
    return tuple(made)


def log_evidence(mixture: Mixture, likelihood: Likelihood, shape: Shape | None = None) -> Tensor:
    """log p(y) of each measurement, in nats: (B,). Correlated noise is whitened first, and y with it."""
    return _prior(mixture).given(_Measured.of(likelihood, shape or (mixture.dim,))).log_weights.logsumexp(1)


@dataclass(frozen=True)
class Exact:
    """The rule without error: E[x_0 | x_t, y] in closed form, for the exact denoiser of a Gaussian mixture.

    What a sampler makes of it is the control beside every other rule: its error is that of the sampler alone.
    """

    def __call__(self, denoiser: Denoiser, likelihood: Likelihood) -> ExactPosterior:
        """Raises UserError for other denoisers, and for likelihoods that are not linear and Gaussian."""
        if not isinstance(denoiser, MixtureDenoiser):
            raise UserError(
                f"the exact posterior is that of a Gaussian mixture, and this prior is {type(denoiser).__name__}: use "
                "PiGDM() or MMPS()"
            )
        return ExactPosterior(denoiser, likelihood)


@dataclass(frozen=True, eq=False)
class ExactPosterior(Wrapper):
    """p(x_0 | x_t, y) of a mixture: each component is conditioned on x_t, then on y."""

    likelihood: Likelihood

    @cached_property
    def _prior(self) -> _Components:
        return _prior(self._mixture)

    @property
    def _mixture(self) -> Mixture:
        if not isinstance(self.inner, MixtureDenoiser):
            raise UserError("the exact posterior is that of a Gaussian mixture")
        return self.inner.mixture

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        if not isinstance(level.sigma, Tensor) and level.sigma == 0:
            return self.inner.estimate(x, level)
        found = self._given(x.double(), level)
        shares = found.log_weights.softmax(1)
        mean = torch.einsum("bk,bkd->bd", shares, found.means)

        def variance() -> Tensor:
            within = found.covariances.diagonal(dim1=-2, dim2=-1)
            second = (shares[..., None] * (within + found.means**2)).sum(1)
            return (second - mean**2).clamp(min=0).reshape(x.shape).to(x.dtype)

        return Estimate.of_mean(x, level, mean.reshape(x.shape).to(x.dtype), variance)

    def _given(self, x: Tensor, level: Level) -> _Components:
        mixture = self._mixture
        alpha, sigma = (
            torch.as_tensor(v, dtype=torch.float64, device=x.device).reshape(-1) for v in (level.alpha, level.sigma)
        )
        eye = torch.eye(mixture.dim, dtype=torch.float64, device=x.device)
        noisy = _Measured(alpha[:, None, None] * eye, x.flatten(1), sigma**2)
        kept: dict[Shape, _Measured] = self.__dict__.setdefault("_kept", {})
        shape = tuple(x.shape[1:])
        if shape not in kept:
            kept[shape] = _Measured.of(self.likelihood, shape)
        return self._prior.given(noisy).given(kept[shape])

    def rows(self, index: Tensor) -> ExactPosterior:
        return replace(self, inner=self.inner.rows(index), likelihood=self.likelihood.select(index))
