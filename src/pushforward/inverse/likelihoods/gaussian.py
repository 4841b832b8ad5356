"""y = h(x) + n with Gaussian noise: of one deviation, of one per item, or of any covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.covariance import Covariance
from pushforward.inverse.likelihoods.likelihood import Likelihood, Measurement, normal_like
from pushforward.inverse.operators.operator import LinearOperator, Operator, told
from pushforward.inverse.operators.units import Affine, Units
from pushforward.inverse.solve import squares
from pushforward.numerics.broadcast import Scalar, entries_of, expand, sum_per_sample
from pushforward.numerics.random import Draws


@dataclass(frozen=True, eq=False)
class Gaussian(Measurement):
    """y = h(x) + σ n, n ~ N(0, I), everything in the units of x and y as they are given.

    `sigma` is a float, or (B,) for one per item; complex measurements have that deviation in each of their two parts.
    Noise that is not the same everywhere has a `covariance`, in units of σ² (`Gaussian.correlated`). σ = 0 says that y
    is exact: solvers then meet y, and there is no density. Raises UserError for σ < 0 and what `Measurement` refuses.
    """

    sigma: Scalar
    covariance: Covariance | None = None

    def __post_init__(self) -> None:
        sigma = self.sigma
        try:
            values = torch.as_tensor(sigma, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            values = torch.full((), torch.nan)
        if values.ndim > 1 or not bool((torch.isfinite(values) & (values >= 0)).all()):
            raise UserError(
                f"the noise of a measurement must be a number of at least 0, or one per item (B,); got sigma = {sigma}"
            )
        super().__post_init__()
        if not isinstance(sigma, Tensor) or values.numel() == 1:
            # Whatever it came as, lists and arrays too: a number for all, or a tensor of one per item.
            object.__setattr__(self, "sigma", float(values) if values.numel() == 1 else values)
        if values.numel() > 1 and len(self.y) not in (1, len(values)):
            raise UserError(f"sigma was given for {len(values)} items, and there are {len(self.y)} measurements")
        if self.covariance is not None and not self.covariance.diagonal:
            whole = self.y[0].numel() * (2 if self.y.is_complex() else 1)
            if not bool((self.count() == whole).all()):
                raise UserError(
                    "correlated noise needs an operator all of whose numbers are measured: leave out those that are "
                    "not by a Matrix of the rows that are kept, in place of a Mask"
                )

    @staticmethod
    def correlated(operator: Operator, y: Tensor, covariance: Covariance) -> Gaussian:
        """y = h(x) + n, n ~ N(0, covariance)."""
        return Gaussian(operator, y, 1.0, covariance)

    @staticmethod
    def measure(operator: Operator, x: Tensor, sigma: Scalar, draws: Draws) -> Gaussian:
        """Measure x (B, …) with noise of deviation `sigma`."""
        clean = operator(x)
        return Gaussian(operator, Gaussian(operator, clean, sigma).simulate(x, draws), sigma)

    @property
    def items(self) -> int | None:
        own = super().items
        return len(self.sigma) if own is None and isinstance(self.sigma, Tensor) and self.sigma.ndim else own

    @property
    def exact(self) -> bool:
        """Whether σ = 0, for one item at least."""
        return not bool((torch.as_tensor(self.sigma) > 0).all())

    @property
    def linear(self) -> LinearOperator:
        """The operator. Raises UserError where it is not linear, or where noise is correlated (see `whitened`)."""
        if not isinstance(self.operator, LinearOperator):
            raise UserError(f"this method needs a linear operator, and {told(self.operator)} is not linear")
        if self.covariance is not None:
            raise UserError("this method needs noise of one deviation: use the likelihood's `whitened()`")
        return self.operator

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(y; h(x), σ² Σ), of what was measured: (B,). Raises UserError where σ = 0."""
        residual = self._white(self.residual(x))
        sigma = self._positive(residual)
        count = self.count().to(residual.device, sigma.dtype)
        constant = count * (sigma.log() + 0.5 * math.log(2 * math.pi))
        return -0.5 * squares(residual) / sigma**2 - constant - self._log_root(residual)

    def gradient(self, x: Tensor) -> Tensor:
        """Jᵀ Σ⁻¹(y − h(x)) / σ²: one product with A and one with its adjoint."""
        residual = self._white(self.residual(x))
        sigma = self._positive(residual)
        if self.covariance is not None:
            residual = self.covariance.inverse.adjoint(residual)
        return self.operator.vjp(x, residual / expand(sigma**2, residual))

    def chi2(self, x: Tensor) -> Tensor:
        """‖y − h(x)‖² / (m σ²), near 1 for the true x: (B,)."""
        residual = self._white(self.residual(x))
        return squares(residual) / (self.count().to(residual.device) * self._positive(residual) ** 2)

    def simulate(self, x: Tensor, draws: Draws) -> Tensor:
        clean = self.operator(x)
        noise = normal_like(clean, draws.at("measurement"))
        if self.covariance is not None:
            noise = self.covariance.root(noise)
        return clean + expand(self.sigma, clean) * self.operator.measured(noise)

    def whitened(self) -> Gaussian:
        """The same likelihood with uncorrelated noise: L⁻¹ y = L⁻¹ A x + σ n, Σ = L Lᵀ. For linear operators."""
        if self.covariance is None:
            return self
        inner = replace(self, covariance=None).linear
        return Gaussian(self.covariance.inverse @ inner, self.covariance.inverse(self.y), self.sigma)

    def in_units(self, units: Units) -> Likelihood:
        """For linear operators a linear one again: y − A offset = (A · scale) x + σ n."""
        if not isinstance(self.operator, LinearOperator):
            return super().in_units(units)
        affine = Affine.of(units)
        if self.operator.x_shape is None and affine.offset.ndim == 0:
            shape = tuple(self.operator.adjoint(torch.zeros_like(self.y)).shape[1:])
        else:
            shape = self.operator.resolve(tuple(affine.offset.shape) or None)
        constant = self.operator(affine(self.operator.zeros(shape)))
        y = self.y - constant.to(self.y.device, self.y.dtype)
        return replace(self, operator=self.operator @ affine.linear, y=y)

    def _selected(self, index: Tensor) -> dict[str, Any]:
        sigma = self.sigma
        sigma = entries_of(sigma, index, "deviations") if isinstance(sigma, Tensor) and sigma.ndim else sigma
        covariance = None if self.covariance is None else self.covariance.select(index)
        return {**super()._selected(index), "sigma": sigma, "covariance": covariance}

    def slack(self) -> float:
        sigma = float(torch.as_tensor(self.sigma).max())
        if self.covariance is None:
            return sigma
        # Deviations may differ by orders of magnitude, so that their geometric mean says little: of a counted noise.
        y = self.y if len(self.y) > 1 else self.y.expand(self.covariance.root.items or 1, *self.y.shape[1:])
        noise = self.covariance.root(normal_like(y, Draws.of(0, range(len(y)), "slack", y.device)))
        return sigma * float((squares(self.operator.measured(noise)) / self.count()).mean().sqrt())

    def _white(self, residual: Tensor) -> Tensor:
        return residual if self.covariance is None else self.covariance.inverse(residual)

    def _positive(self, like: Tensor) -> Tensor:
        sigma = torch.as_tensor(self.sigma, dtype=like.real.dtype, device=like.device)
        if self.exact:
            raise UserError("a measurement that is free of noise (sigma = 0) has no density: give sigma > 0")
        return sigma

    def _log_root(self, like: Tensor) -> Tensor | float:
        if self.covariance is None:
            return 0.0
        spread = self.covariance.log_root.to(like.device, like.real.dtype).expand(len(self.y), *like.shape[1:])
        return sum_per_sample(self.operator.measured(spread.contiguous())) * (2 if like.is_complex() else 1)
