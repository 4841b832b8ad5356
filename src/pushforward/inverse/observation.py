"""What was measured: y = A x + σ n."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators import LinearOperator
from pushforward.numerics.random import Draws


@dataclass(frozen=True, eq=False)
class Observation:
    """y = A x + σ n with n ~ N(0, I), everything in model units.

    `y` holds one measurement per sample (B, …), or one for all (1, …). Raises UserError for σ < 0.
    """

    operator: LinearOperator
    y: Tensor
    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise UserError(f"the noise of a measurement must be a number of at least 0; got sigma = {self.sigma}")

    @staticmethod
    def simulate(operator: LinearOperator, x: Tensor, sigma: float, draws: Draws) -> Observation:
        """Measure x: (B, …)."""
        clean = operator(x)
        return Observation(
            operator, clean + sigma * operator.measured(draws.at("measurement").normal_like(clean)), sigma
        )

    def residual(self, x: Tensor) -> Tensor:
        """y − A x: (B, …). Raises UserError where the measurement has another shape than A x."""
        predicted = self.operator(x)
        if self.y.shape[1:] != predicted.shape[1:] or len(self.y) not in (1, len(predicted)):
            raise UserError(
                f"the measurement has the shape {tuple(self.y.shape)}, and {tuple(predicted.shape)} was expected: one "
                "per sample, or one for all"
            )
        return self.y.to(predicted.device, predicted.dtype) - predicted
