"""Ridge regression on many voxels, a penalty for each target, chosen within the trials that it is fitted on.

With X (n, p) standardised and Y (n, d) centred, W_λ = (XᵀX + λI)⁻¹XᵀY. One eigendecomposition of the smaller of XXᵀ and
XᵀX serves every penalty and every target. Penalties are in units of the mean eigenvalue, so that one grid fits any
number of voxels and trials; constant voxels do not count. Folds are made of stimuli, never of trials: repeats of one
picture stay together, or the penalty would be chosen by how well a picture that was seen is recognised. Voxels are
standardised and penalties chosen per target as in Takagi & Nishimoto (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pushforward.errors import UserError

PENALTIES = tuple(float(value) for value in np.logspace(-4, 4, 25))
"""In units of the mean eigenvalue of XXᵀ."""
FOLDS = 10
_MOST = 1 << 26
"""Held-out predictions that are kept at once, over penalties, trials and targets."""


class Standard(NamedTuple):
    """Mean and standard deviation of each column; a constant column is left out (scale 0)."""

    mean: np.ndarray
    scale: np.ndarray

    @staticmethod
    def of(x: np.ndarray) -> Standard:
        deviation = x.std(0)
        known = deviation > 1e-12 * np.maximum(np.abs(x).max(0, initial=0.0), 1e-300)
        return Standard(x.mean(0), np.where(known, 1 / np.where(known, deviation, 1), 0.0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) * self.scale


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted map from voxels (m, p) to targets (m, d).

    `penalties` (d,) were chosen for each target, in units of the mean eigenvalue; `held_out` (n, d) is what the map
    said of each training trial when it was fitted without that trial's stimulus, `explained` (d,) the share of the
    variance that this explains (at most 1; below 0 where the mean is better).
    """

    standard: Standard
    weights: np.ndarray
    offset: np.ndarray
    penalties: np.ndarray
    held_out: np.ndarray
    explained: np.ndarray

    @staticmethod
    def beside(maps: Sequence[Ridge]) -> Ridge:
        """One map to the targets of several that were fitted on the same voxels."""
        parts = [
            np.concatenate([getattr(one, name) for one in maps], -1)
            for name in ("weights", "offset", "penalties", "held_out", "explained")
        ]
        return Ridge(maps[0].standard, *parts)

    def __call__(self, voxels: np.ndarray) -> np.ndarray:
        if voxels.ndim != 2 or voxels.shape[1] != len(self.weights):
            raise UserError(f"the map was fitted on {len(self.weights)} voxels, and {voxels.shape} was given")
        return self.standard(voxels) @ self.weights + self.offset


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    penalties: Sequence[float] = PENALTIES,
    folds: int = FOLDS,
) -> Ridge:
    """The map from x (n, p) to y (n, d), each target with the penalty that predicts stimuli left out best.

    `groups` (n,) numbers the stimuli; whole stimuli are left out. Raises UserError for fewer than three of them.
    """
    kinds = np.unique(groups)
    if len(x) != len(y) or len(x) != len(groups):
        raise UserError(f"there are {len(x)} rows of voxels, {len(y)} of targets and {len(groups)} stimuli")
    if len(kinds) < 3:
        raise UserError(f"a penalty is chosen by leaving stimuli out, which needs at least 3; there are {len(kinds)}")
    grid = np.asarray(penalties, dtype=np.float64)
    if not len(grid) or not (np.isfinite(grid) & (grid > 0)).all():
        raise UserError(f"penalties are positive numbers; got {list(penalties)[:6]}")
    y = np.asarray(y, dtype=np.float64)
    together = max(1, _MOST // (len(grid) * len(y)))
    blocks = [
        _fitted(x, y[:, start : start + together], np.searchsorted(kinds, groups) % min(folds, len(kinds)), grid)
        for start in range(0, y.shape[1], together)
    ]
    return blocks[0] if len(blocks) == 1 else Ridge.beside(blocks)


def _fitted(x: np.ndarray, y: np.ndarray, fold: np.ndarray, grid: np.ndarray) -> Ridge:
    """The map, with penalties of the grid chosen by leaving folds out, whose numbers are (n,)."""
    found = np.empty((len(grid), *y.shape))
    for k in range(fold.max() + 1):
        out = fold == k
        found[:, out] = _Spectrum.of(x[~out], y[~out]).predicted(x[out], grid)
    errors = np.square(found - y).mean(1)
    best = errors.argmin(0)
    targets = np.arange(y.shape[1])
    spectrum = _Spectrum.of(x, y)
    variance = np.square(y - y.mean(0)).mean(0)
    explained = 1 - errors[best, targets] / np.where(variance > 0, variance, 1)
    return Ridge(
        spectrum.standard,
        spectrum.weights(grid[best]),
        spectrum.offset,
        grid[best],
        found[best, :, targets].T,
        explained,
    )


class _Spectrum(NamedTuple):
    """W_λ = left · diag(1/(values + λ · unit)) · right, for every λ."""

    standard: Standard
    offset: np.ndarray
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    unit: float

    @staticmethod
    def of(x: np.ndarray, y: np.ndarray) -> _Spectrum:
        standard, offset = Standard.of(x), y.mean(0)
        z, centred = standard(x), y - offset
        if z.shape[0] <= z.shape[1]:
            values, vectors = np.linalg.eigh(z @ z.T)
            left, right = z.T @ vectors, vectors.T @ centred
        else:
            values, vectors = np.linalg.eigh(z.T @ z)
            left, right = vectors, vectors.T @ (z.T @ centred)
        values = np.maximum(values, 0)
        rank = min(len(z), int((standard.scale > 0).sum()))
        return _Spectrum(standard, offset, left, values, right, float(values.sum()) / max(rank, 1) or 1.0)

    def predicted(self, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """For every penalty of the grid: (g, m, d)."""
        along = self.standard(x) @ self.left
        shrunk = self.right / (self.values + self.unit * grid[:, None])[..., None]
        return along @ shrunk + self.offset

    def weights(self, penalties: np.ndarray) -> np.ndarray:
        """(p, d), each target with its own penalty (d,)."""
        return self.left @ (self.right / (self.values[:, None] + self.unit * penalties))
