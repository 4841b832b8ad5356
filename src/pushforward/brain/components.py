"""The few directions in which pictures, or their latents, differ most: what voxels are regressed to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import UserError

MOST, SHARE = 64, 0.99


@dataclass(frozen=True, eq=False)
class Components:
    """c = axes (x − mean) for flattened x: `axes` float64 (k, D) orthonormal, `mean` (D,); x of `shape`.

    Principal components of the prior's own items, so that nothing of the recording is in them.
    """

    mean: Tensor
    axes: Tensor
    shape: tuple[int, ...]

    @staticmethod
    def of(items: Tensor, count: int | None = None) -> Components:
        """The first `count` principal components of items (n, …), by default those with 99 % of the variance, ≤ 64."""
        flat = items.detach().cpu().double().flatten(1)
        if len(flat) < 2:
            raise UserError(f"components need at least two items; got {len(flat)}")
        mean = flat.mean(0)
        _, s, vt = torch.linalg.svd(flat - mean, full_matrices=False)
        held = (s**2).cumsum(0) / (s**2).sum()
        usual = min(MOST, int(torch.searchsorted(held, SHARE)) + 1)
        rank = int((s > 1e-9 * s[0]).sum())
        wanted = usual if count is None else count
        if not 1 <= wanted <= rank:
            raise UserError(f"there are {rank} components of {len(flat)} items; got {wanted}")
        return Components(mean, vt[:wanted].contiguous(), tuple(items.shape[1:]))

    def __len__(self) -> int:
        return len(self.axes)

    def encode(self, x: Tensor) -> np.ndarray:
        """(n, *shape) -> float64 (n, k)."""
        return ((x.detach().cpu().double().flatten(1) - self.mean) @ self.axes.T).numpy()

    def decode(self, c: np.ndarray) -> Tensor:
        """(n, k) -> float32 (n, *shape): the item with these components and the mean in all others."""
        flat = torch.as_tensor(c, dtype=torch.float64) @ self.axes + self.mean
        return flat.float().reshape(len(flat), *self.shape)
