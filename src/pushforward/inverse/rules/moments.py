"""Moment matching: Cov[x_0 | x_t] from the denoiser's own derivative (Rozet et al. 2024; Boys et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.operators.operator import LinearOperator
from pushforward.inverse.rules.gains import as_gaussian, as_linear, mean_square
from pushforward.inverse.rules.posterior import Correction, per_item
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw
from pushforward.inverse.solve import dots, squares
from pushforward.numerics.broadcast import Scalar, choose, expand

_DETOUR = 2.0
"""Times the measurement's residual, in the norm of the preconditioner, that the first iterate may leave."""


@dataclass(frozen=True)
class MMPS(Correction):
    """p(x_0 | x_t) ≈ N(m, C), C = (σ²/α) Jᵀ: the correction is C A*(A C A* + σ_y²)⁻¹(y − A m).

    Exact for every Gaussian prior, if solved to the end; for others wrong at high noise. The system is solved per item
    by conjugate gradients, one backward pass per iteration, preconditioned by its isotropic form, PiGDM's: `iterations`
    at most, or until the residual is below `tolerance`, relative. One iteration is PiGDM with the right length, at its
    price; more are nearer to the formula, which is not always nearer to the posterior. Operators that are not linear
    are linearised at m, without a preconditioner.

    A trained network's derivative is no covariance: of error ε in units of the network's output, it is off by
    (σ/(α σ_d)) ε at high noise, neither symmetric nor positive, and iterations on it lead anywhere. So an iterate
    counts only where its residual is smaller than that of all before it (the first may be up to twice the
    measurement's, as conjugate gradients make detours), and where none counts, the isotropic gain stands.
    """

    iterations: int = 1
    tolerance: float = 1e-3
    variance: VarianceLaw | None = None

    def __post_init__(self) -> None:
        if self.iterations < 1 or not self.tolerance >= 0:
            raise UserError(
                f"moment matching needs at least one iteration and a tolerance of at least 0; got {self.iterations} "
                f"and {self.tolerance}"
            )

    @property
    def law(self) -> VarianceLaw | None:
        return self.variance

    def prepared(self, likelihood: Likelihood) -> Gaussian:
        return as_gaussian(likelihood, "MMPS")

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        gaussian = as_gaussian(likelihood, "MMPS")
        at = _Linearised(gaussian, tangent)
        residual = gaussian.residual(tangent.mean)
        # What rounding leaves is no direction, and its derivative no number.
        least = max(self.tolerance, 100 * torch.finfo(residual.dtype).eps)
        bound = least**2 * squares(residual)
        # Conjugate gradients on M u = residual, M = A C A* + σ_y²; what is kept is C A* u, not u.
        found = torch.zeros_like(tangent.mean)
        ready = at.precondition(residual)
        direction, product = ready, dots(residual, ready)
        kept, lowest = at.isotropic(ready), _DETOUR**2 * product
        for i in range(self.iterations):
            carried = tangent.covariance(at.adjoint(direction), last=i + 1 == self.iterations)
            image = at.noisy(carried, direction)
            curvature = dots(direction, image)
            active = (curvature > 0) & (squares(residual) > bound)
            if not bool(active.any()):
                break
            rate = torch.where(active, product / torch.where(active, curvature, 1), 0)
            found = found + expand(rate, found) * carried
            residual = residual - expand(rate, residual) * image
            ready = at.precondition(residual)
            previous, product = product, dots(residual, ready)
            better = active & (product < lowest)
            kept, lowest = choose(better, found, kept), torch.where(better, product, lowest)
            ratio = torch.where(active, product / torch.where(active, previous, 1), 0)
            direction = ready + expand(ratio, ready) * direction
        return kept


class _Linearised:
    """A = ∂h/∂x at the mean, with its noise, and the preconditioner (r² A A* + σ_y²)⁻¹."""

    def __init__(self, likelihood: Gaussian, tangent: Tangent) -> None:
        self.operator, self.mean = likelihood.operator, tangent.mean
        self.noise: Scalar = likelihood.sigma**2
        self.variance = tangent.variance

    def adjoint(self, v: Tensor) -> Tensor:
        return self.operator.vjp(self.mean, v)

    def noisy(self, carried: Tensor, direction: Tensor) -> Tensor:
        """A C A* d + σ_y² d, where C A* d is known."""
        return self.operator.jvp(self.mean, carried) + expand(self.noise, direction) * direction

    def isotropic(self, ready: Tensor) -> Tensor:
        """r² A*(r² A A* + σ_y²)⁻¹ residual, of the residual preconditioned; 0 where the operator is not linear."""
        if not isinstance(self.operator, LinearOperator):
            return torch.zeros_like(self.mean)
        return expand(self.variance, self.mean) * self.operator.adjoint(ready)

    def precondition(self, residual: Tensor) -> Tensor:
        operator = self.operator
        if not isinstance(operator, LinearOperator):
            return residual
        return operator.solve(residual, self.variance, self.noise)


@dataclass(frozen=True)
class TMPD(Correction):
    """A C A* + σ_y² is taken as diagonal, with the sums of its rows: Tweedie moment projected diffusion.

    Exact where A C A* is diagonal. Sums of rows vanish or fall below 0 where what is measured is anti-correlated, and
    the published rule then explodes: here they are at least `least` of the isotropic value (`least=None`: as
    published). A trained network's derivative is no covariance, and its sums are none: where the correction leaves more
    of the measurement unexplained than there was, it is shortened until it does not. One evaluation and two of its
    gradients. For linear operators.
    """

    least: float | None = 0.3
    variance: VarianceLaw | None = None

    @property
    def law(self) -> VarianceLaw | None:
        return self.variance

    def prepared(self, likelihood: Likelihood) -> Gaussian:
        return as_linear(likelihood, "TMPD")

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        gaussian = as_linear(likelihood, "TMPD")
        operator = gaussian.linear
        residual = gaussian.residual(tangent.mean)
        ones = operator.measured(torch.ones_like(residual))
        carry = tangent.covariance if self.least is None else tangent.trusted
        sums = operator(carry(operator.adjoint(ones))).real
        if self.least is not None:
            square = mean_square(operator, tangent.mean, gaussian.count().to(sums))
            floor = self.least * per_item(tangent.variance, sums) * square
            sums = torch.maximum(sums, torch.as_tensor(expand(floor, sums)))
        noise = expand(per_item(gaussian.sigma, residual) ** 2, sums)
        total = sums + noise
        weighted = torch.where(total != 0, residual / torch.where(total != 0, total, 1), 0)
        moved = carry(operator.adjoint(operator.measured(weighted)), True)
        return moved if self.least is None else _explaining(moved, residual, operator)


def _explaining(moved: Tensor, residual: Tensor, operator: LinearOperator) -> Tensor:
    """The correction, for items of which it leaves a larger residual shortened until it leaves one of the same size."""
    image = operator.measured(operator(moved))
    size = squares(image)
    share = torch.where(size > 0, 2 * dots(residual, image) / torch.where(size > 0, size, 1), 1).clamp(0, 1)
    return expand(share, moved) * moved
