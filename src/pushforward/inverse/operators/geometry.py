"""Where the rays of a tomograph run. Lengths in pixels, angles in radians, the origin in the middle of the image.

x points to the right (columns), y up (against rows). A view at angle θ has its detector along e = (cos θ, sin θ) and
its rays along u = (−sin θ, cos θ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError


class Geometry(Protocol):
    """Views, each of the same number of detector cells, and what filtered back-projection needs of them."""

    @property
    def angles(self) -> Tensor: ...
    @property
    def detectors(self) -> int: ...
    @property
    def step(self) -> float:
        """The distance between rays where they pass the origin."""
        ...

    def rays(self) -> tuple[Tensor, Tensor]:
        """A point on each ray and its direction of length 1: both (views, detectors, 2), float64."""
        ...

    def weights(self) -> Tensor:
        """What projections are multiplied by before they are filtered: (detectors,)."""
        ...

    def seen(self, x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Where the ray through the points (x, y) passes the origin, in pixels, and the weight of these points."""
        ...


def _checked(angles: Tensor, detectors: int, spacing: float) -> None:
    if angles.ndim != 1 or not len(angles) or not bool(torch.isfinite(angles).all()):
        raise UserError(f"the angles of a tomograph are finite numbers (views,), in radians; got {tuple(angles.shape)}")
    if detectors < 1 or not (spacing > 0 and math.isfinite(spacing)):
        raise UserError(f"a tomograph needs detector cells and a spacing above 0; got {detectors} and {spacing}")


def _axes(angles: Tensor) -> tuple[Tensor, Tensor]:
    """e and u of each view: (views, 2)."""
    cos, sin = angles.double().cos(), angles.double().sin()
    return torch.stack((cos, sin), 1), torch.stack((-sin, cos), 1)


def _cells(detectors: int, spacing: float) -> Tensor:
    return (torch.arange(detectors, dtype=torch.float64) - (detectors - 1) / 2) * spacing


def spread(views: int, over: float = math.pi) -> Tensor:
    """`views` angles evenly from 0 to `over`, the last left out: (views,)."""
    if views < 1:
        raise UserError(f"a tomograph needs at least one view; got {views}")
    return torch.arange(views, dtype=torch.float64) * (over / views)


@dataclass(frozen=True, eq=False)
class ParallelBeam:
    """Parallel rays, `spacing` pixels apart, in views at `angles` (usually over π)."""

    angles: Tensor
    detectors: int
    spacing: float = 1.0

    def __post_init__(self) -> None:
        _checked(self.angles, self.detectors, self.spacing)

    @staticmethod
    def over(size: int, views: int) -> ParallelBeam:
        """`views` over half a turn, with a detector as long as the diagonal of images of `size`²."""
        return ParallelBeam(spread(views), math.ceil(math.sqrt(2) * size))

    @property
    def step(self) -> float:
        return self.spacing

    def rays(self) -> tuple[Tensor, Tensor]:
        e, u = _axes(self.angles)
        points = _cells(self.detectors, self.spacing)[None, :, None] * e[:, None]
        return points, u[:, None].expand_as(points)

    def weights(self) -> Tensor:
        return torch.ones(self.detectors, dtype=torch.float64)

    def seen(self, x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        return x * angle.cos() + y * angle.sin(), torch.ones_like(x)


@dataclass(frozen=True, eq=False)
class FanBeam:
    """Rays from a point source, `source` pixels before the origin, to a flat detector `behind` pixels after it.

    Cells are `spacing` pixels apart on the detector; views at `angles`, usually over 2π.
    """

    angles: Tensor
    detectors: int
    source: float
    behind: float
    spacing: float = 1.0

    def __post_init__(self) -> None:
        _checked(self.angles, self.detectors, self.spacing)
        if not (self.source > 0 and self.behind >= 0):
            raise UserError(
                f"the source of a fan beam lies before the origin and its detector behind; got {self.source} and "
                f"{self.behind}"
            )

    @staticmethod
    def over(size: int, views: int) -> FanBeam:
        """`views` over a whole turn, the source two sides away, a detector that sees all of images of `size`²."""
        source = behind = 2.0 * size
        reach = size / math.sqrt(2)
        half = (source + behind) * reach / math.sqrt(source**2 - reach**2)
        return FanBeam(spread(views, 2 * math.pi), 2 * math.ceil(half / 2) + 1, source, behind, 2.0)

    @property
    def step(self) -> float:
        return self.spacing * self.source / (self.source + self.behind)

    def rays(self) -> tuple[Tensor, Tensor]:
        e, u = _axes(self.angles)
        cells = _cells(self.detectors, self.spacing)[None, :, None] * e[:, None] + self.behind * u[:, None]
        start = (-self.source * u[:, None]).expand_as(cells)
        return start, torch.nn.functional.normalize(cells - start, dim=-1)

    def weights(self) -> Tensor:
        return self.source / (self.source**2 + _cells(self.detectors, self.step) ** 2).sqrt()

    def seen(self, x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        depth = (self.source - x * angle.sin() + y * angle.cos()) / self.source
        return (x * angle.cos() + y * angle.sin()) / depth, 1 / depth**2
