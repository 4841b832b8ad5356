"""A path that ends earlier: where sampling begins at a part of the noise."""

from __future__ import annotations

from torch import Tensor

from pushforward.numerics.broadcast import Scalar
from pushforward.paths.gaussian import GaussianPath, Level


class Below(GaussianPath):
    """A path up to an earlier time."""

    def __init__(self, path: GaussianPath, t_max: float) -> None:
        self.path, self.t_min, self.t_max = path, path.t_min, t_max

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.path.scales(t)

    def time(self, log_ratio: Tensor) -> Tensor:
        return self.path.time(log_ratio).clamp(self.t_min, self.t_max)

    def level(self, t: Scalar | Level) -> Level:
        return self.path.level(t)
