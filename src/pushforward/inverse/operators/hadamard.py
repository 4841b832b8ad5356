"""Compressed sensing by rows of a Walsh–Hadamard transform of shuffled pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.elementwise import Identity
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.singular import SingularSystem
from pushforward.numerics.random import key, permutation


def walsh_hadamard(x: Tensor) -> Tensor:
    """The orthonormal transform of the last axis, of a length that is a power of two: n log n additions."""
    n = x.shape[-1]
    y = x.reshape(-1, n)
    half = 1
    while half < n:
        pairs = y.reshape(len(y), -1, 2, half)
        y = torch.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), 2)
        half *= 2
    return y.reshape(x.shape) / math.sqrt(n)


@dataclass(frozen=True, eq=False)
class Hadamard(LinearOperator):
    """y = (H P x)[rows], P a shuffling of all pixels and channels: (B, *shape) to (B, m). Orthonormal rows: s = 1.

    `order` is the permutation, int64 (n,); `rows` (m,) are distinct rows of H.
    """

    order: Tensor
    rows: Tensor
    shape: Shape

    def __post_init__(self) -> None:
        n = math.prod(self.shape)
        if n < 1 or n & (n - 1):
            raise UserError(
                f"a Walsh–Hadamard transform needs a power of two of numbers per item; {self.shape} has {n}: pad"
            )
        if not torch.equal(self.order.cpu().sort().values, torch.arange(n)):
            raise UserError(f"the order of a Walsh–Hadamard measurement is a permutation of 0 … {n - 1}")
        rows = self.rows.cpu()
        if not len(rows) or len(rows.unique()) != len(rows) or int(rows.min()) < 0 or int(rows.max()) >= n:
            raise UserError(f"the rows of a Walsh–Hadamard measurement are distinct numbers from 0 to {n - 1}")

    @property
    def x_shape(self) -> Shape:
        return self.shape

    @property
    def unitary(self) -> bool:
        return len(self.rows) == len(self.order)

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise UserError(f"this measurement is of items of shape {self.shape}, and {tuple(x.shape[1:])} was given")
        return walsh_hadamard(x.flatten(1)[:, self.order.to(x.device)])[:, self.rows.to(x.device)]

    def adjoint(self, y: Tensor) -> Tensor:
        if y.shape[1:] != self.rows.shape:
            raise UserError(f"this operator measures {len(self.rows)} numbers, and {tuple(y.shape[1:])} was given")
        spread = y.new_zeros(len(y), len(self.order)).index_copy(1, self.rows.to(y.device), y)
        x = torch.empty_like(spread)
        x[:, self.order.to(y.device)] = walsh_hadamard(spread)
        return x.reshape(len(y), *self.shape)

    def _svd(self, shape: Shape) -> SingularSystem:
        return SingularSystem(Identity(), torch.ones(1, len(self.rows), dtype=torch.float64), self.T)


def compressed_sensing(shape: Shape, count: int, seed: int) -> Hadamard:
    """`count` random rows of the transform of randomly ordered pixels; both follow from the seed alone.

    The row of all ones, the mean, is among them.
    """
    n = math.prod(shape)
    if not 1 <= count <= n:
        raise UserError(f"of {n} numbers per item, from 1 to {n} can be measured; got {count}")
    rows = (
        1 + permutation(key(seed, "hadamard rows"), n - 1)[: count - 1]
        if count > 1
        else torch.zeros(0, dtype=torch.int64)
    )
    rows = torch.cat((torch.zeros(1, dtype=torch.int64), rows.sort().values))
    return Hadamard(permutation(key(seed, "hadamard order"), n), rows, tuple(shape))
