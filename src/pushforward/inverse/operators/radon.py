"""Line integrals of an image: a sparse matrix of Joseph's interpolation (1982), its transpose the exact adjoint."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.geometry import FanBeam, Geometry, ParallelBeam
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.pair import with_adjoint


@dataclass(frozen=True, eq=False)
class Radon(LinearOperator):
    """y = ∫ x along each ray, pixels of side 1: (B, C, H, W) to (B, C, views, detectors)."""

    size: tuple[int, int]
    geometry: Geometry
    channels: int = 1

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.channels < 1:
            raise UserError(f"a tomograph needs images of at least one pixel; got {self.size}")
        if isinstance(self.geometry, FanBeam) and self.geometry.source <= math.hypot(*self.size) / 2:
            raise UserError(
                f"the source of a fan beam, at {self.geometry.source} pixels, lies within the image of "
                f"{self.size[0]}×{self.size[1]}: it must be more than {math.hypot(*self.size) / 2:.1f} away"
            )

    @property
    def x_shape(self) -> Shape:
        return (self.channels, *self.size)

    @property
    def image(self) -> Shape:
        """The shape of a measurement."""
        return (self.channels, len(self.geometry.angles), self.geometry.detectors)

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.x_shape or x.is_complex():
            raise UserError(f"this tomograph takes real items of shape {self.x_shape}; got {_told(x)}")
        return with_adjoint(x, self._project, self._back_project)

    def adjoint(self, y: Tensor) -> Tensor:
        if tuple(y.shape[1:]) != self.image or y.is_complex():
            raise UserError(f"this tomograph measures real items of shape {self.image}; got {_told(y)}")
        return with_adjoint(y, self._back_project, self._project)

    def _project(self, x: Tensor) -> Tensor:
        return _times(self._matrices(x)[0], x, self.image)

    def _back_project(self, y: Tensor) -> Tensor:
        return _times(self._matrices(y)[1], y, self.x_shape)

    def _matrices(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """A and Aᵀ in the dtype and on the device of `like`. Kept."""
        kept: dict[object, tuple[Tensor, Tensor]] = self.__dict__.setdefault("_kept", {})
        key = (like.dtype, like.device)
        if key not in kept:
            with torch.inference_mode(False):
                matrix = joseph(self.size, *self.geometry.rays())
                kept[key] = (_as_torch(matrix, like), _as_torch(matrix.T.tocsr(), like))
        return kept[key]


def _told(x: Tensor) -> str:
    return f"{'complex' if x.is_complex() else 'real'} ones of shape {tuple(x.shape[1:])}"


def _times(matrix: Tensor, x: Tensor, shape: Shape) -> Tensor:
    """The matrix on each channel of each item: (B, C, …) to (B, *shape)."""
    flat = x.reshape(len(x) * x.shape[1], -1)
    y = matrix @ flat[0] if len(flat) == 1 else (matrix @ flat.T.contiguous()).T
    return y.reshape(len(x), *shape)


def _as_torch(matrix: sparse.csr_matrix, like: Tensor) -> Tensor:
    starts, columns = (torch.from_numpy(part.astype(np.int32)) for part in (matrix.indptr, matrix.indices))
    values = torch.from_numpy(matrix.data).to(like.dtype)
    with warnings.catch_warnings():
        # Told once in every process: that torch's own matrices of this kind are young.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        made = torch.sparse_csr_tensor(starts, columns, values, size=matrix.shape, check_invariants=False)
    return made.to(like.device)


def joseph(size: tuple[int, int], points: Tensor, directions: Tensor) -> sparse.csr_matrix:
    """The matrix of line integrals, float64 (rays, H·W), of rays given by points and unit directions (…, 2).

    A ray is followed along the axis that it is nearer to; at each column (or row) it takes the two pixels beside it,
    linearly weighted, times its length there.
    """
    height, width = size
    column, row = points[..., 0].flatten() + (width - 1) / 2, (height - 1) / 2 - points[..., 1].flatten()
    along, down = directions[..., 0].flatten(), -directions[..., 1].flatten()
    flat = along.abs() >= down.abs()
    rays, pixels, values = [], [], []
    for chosen, first, second, count, others, strides in (
        (flat, (column, along), (row, down), width, height, (1, width)),
        (~flat, (row, down), (column, along), height, width, (width, 1)),
    ):
        ray = torch.nonzero(chosen)[:, :1]
        start, slope = first[0][ray], second[1][ray] / first[1][ray]
        main = torch.arange(count)
        cross = second[0][ray] + (main - start) * slope
        below = cross.floor()
        length = 1 / first[1][ray].abs()
        for pixel, share in ((below, below + 1 - cross), (below + 1, cross - below)):
            inside = (pixel >= 0) & (pixel < others) & (share > 0)
            rays.append(ray.expand_as(inside)[inside])
            pixels.append((main * strides[0] + pixel.long() * strides[1])[inside])
            values.append((share * length)[inside])
    where = (torch.cat(rays).numpy(), torch.cat(pixels).numpy())
    return sparse.coo_matrix((torch.cat(values).numpy(), where), (len(column), height * width)).tocsr()


def parallel(size: int, views: int) -> Radon:
    """Images of `size`², parallel rays one pixel apart, `views` over half a turn."""
    return Radon((size, size), ParallelBeam.over(size, views))


def fan(size: int, views: int) -> Radon:
    """Images of `size`², a fan of rays from a source two sides away, `views` over a whole turn."""
    return Radon((size, size), FanBeam.over(size, views))
