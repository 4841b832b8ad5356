"""A measurement bound to a batch: y = A x + σ_y n in the state's precision, as a whole and in components."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood, normal_like
from pushforward.inverse.operators.operator import LinearOperator, Shape, told
from pushforward.inverse.operators.singular import SingularSystem, inverse
from pushforward.inverse.solve import cgls
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws


@dataclass(frozen=True, eq=False)
class Measured:
    """y = A x + σ_y n for the items of one batch. `sigma` is a float, or a tensor (B,) on the state's device."""

    operator: LinearOperator
    y: Tensor
    sigma: Scalar
    shape: Shape

    @staticmethod
    def of(likelihood: Likelihood, x: Tensor) -> Measured:
        """The measurement of items like `x` (B, …). Raises UserError unless it is linear with Gaussian noise."""
        if not isinstance(likelihood, Gaussian):
            raise UserError(
                f"a method that moves the state needs a linear operator with Gaussian noise, and a "
                f"{type(likelihood).__name__} likelihood was given: use a rule that bends the denoiser, with Guidance"
            )
        white = likelihood.whitened()
        operator = white.linear
        y = white.given(operator(x))
        y = y if len(y) == len(x) else y.expand(len(x), *y.shape[1:])
        sigma = white.sigma
        if isinstance(sigma, Tensor):
            sigma = sigma.to(x.device, x.dtype) if sigma.ndim else float(sigma)
        return Measured(operator, y, sigma, tuple(x.shape[1:]))

    @property
    def variance(self) -> Scalar:
        """σ_y²."""
        return self.sigma**2

    @property
    def noiseless(self) -> bool:
        """Whether σ_y = 0 for every item; known without asking the device."""
        return not isinstance(self.sigma, Tensor) and self.sigma == 0

    @cached_property
    def floor(self) -> float:
        """The least noise, over the variance of the state, with which conjugate gradients are fast and converge.

        0 where there is a singular system; else it bounds the condition of v A A* + noise by 1000, in any precision.
        """
        return 0.0 if self.operator.svd(self.shape) is not None else 1e-3 * self.operator.norm(self.shape) ** 2

    @cached_property
    def parts(self) -> Parts | None:
        """The measurement in the left singular vectors, if the operator has a singular system."""
        system = self.operator.svd(self.shape)
        return None if system is None else Parts.of(system, self.operator.measured(self.y))

    def residual(self, x: Tensor) -> Tensor:
        """y − A x, zero where nothing was measured."""
        return self.operator.measured(self.y - self.operator(x))

    def gain(self, residual: Tensor, variance: Scalar, noise: Scalar) -> Tensor:
        """v A* (v A A* + noise)⁻¹ residual: the mean's change when x ~ N(m, v I) is measured with this noise."""
        moved = self.operator.gain(residual, variance, noise)
        return expand(variance, moved) * moved

    def solution(self, residual: Tensor) -> Tensor:
        """A⁺ residual, where the residual need not be in the range of A."""
        if self.operator.svd(self.shape) is not None:
            return self.operator.gain(residual, 1.0, 0.0)
        tolerance = torch.finfo(residual.dtype).eps ** 0.5
        return cgls(self.operator, self.operator.adjoint, residual, tolerance=tolerance)

    def noise(self, draws: Draws) -> Tensor:
        """Standard normals of the shape of y."""
        return self.operator.measured(normal_like(self.y, draws))

    def pseudo_inverse(self) -> Tensor:
        """A⁺ y."""
        return self.solution(self.y)

    def components(self, x: Tensor, method: str) -> Components:
        """The measurement in the right singular vectors. Raises UserError where there is no singular system."""
        system = self.operator.svd(self.shape)
        if system is None:
            raise UserError(
                f"{method} needs the singular system of the operator, and {told(self.operator)} has none: "
                "make a small one dense by Matrix.of(operator, shape), or choose a method that solves linear systems, "
                "such as ProjectedScore"
            )
        return Components.of(system, self, x)


@dataclass(frozen=True, eq=False)
class Parts:
    """U* y, which is s V* x + σ_y n, component by component."""

    system: SingularSystem
    y: Tensor
    s: Tensor
    """The singular values, rounding among them zero: (1 or B, …)."""

    @staticmethod
    def of(system: SingularSystem, y: Tensor) -> Parts:
        return Parts(system, system.u.adjoint(y), system.values(y))


@dataclass(frozen=True, eq=False)
class Components:
    """ȳ = U* y / s, which is V* x + N(0, (σ_y/s)²), component by component; what has s = 0 is not `seen`."""

    system: SingularSystem
    y: Tensor
    noise: Tensor
    """σ_y/s, and 0 where nothing is seen: (1 or B, …)."""
    precision: Tensor
    """s/σ_y, and 0 where nothing is seen or σ_y = 0."""
    seen: Tensor
    exact: bool
    """Whether some item may have been measured without noise."""
    least: float
    """The smallest σ_y/s of what is seen of any item, inf where nothing is: known without asking the device."""
    most: float
    """The largest, 0 where nothing is seen."""
    whole: bool
    """Whether all is seen."""

    @staticmethod
    def of(system: SingularSystem, measured: Measured, x: Tensor) -> Components:
        s = system.values(measured.y)
        parts = system.u.adjoint(measured.y)
        per = inverse(s)
        sigma = measured.sigma
        noise = per * (sigma if not isinstance(sigma, Tensor) else sigma.reshape(-1, *[1] * (s.ndim - 1)))
        seen = s > 0
        least, most = float(torch.where(seen, noise, torch.inf).min()), float(torch.where(seen, noise, 0).max())
        exact, whole = bool((torch.as_tensor(sigma) == 0).any()), bool(seen.all())
        return Components(system, per * parts, noise, inverse(noise), seen, exact, least, most, whole)

    def project(self, x: Tensor) -> Tensor:
        """V* x."""
        return self.system.v.adjoint(x)

    def embed(self, change: Tensor) -> Tensor:
        """V c for the seen components of c."""
        return self.system.v(change if self.whole else torch.where(self.seen, change, 0))
