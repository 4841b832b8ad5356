"""Feature spaces: where samples are compared. Each has a name that is printed with every number measured in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.metrics.checks import Samples, matrix


class FeatureSpace(Protocol):
    """Items (N, …) to float64 features (N, F)."""

    @property
    def name(self) -> str: ...

    def __call__(self, x: Samples) -> Tensor: ...


def _apply(x: Samples, mean: Tensor, matrix_: Tensor, name: str) -> Tensor:
    rows = matrix(x, least=1)
    if rows.shape[1] != len(mean):
        raise UserError(
            f"The features {name} were fitted on items of {len(mean)} values, but were given {rows.shape[1]}."
        )
    return (rows - mean) @ matrix_


@dataclass(frozen=True)
class PixelPCA:
    """The leading principal components of the training items, in units of their root mean square.

    One scale for all components, so that distances keep the proportions of the pixels (no whitening), and features have
    mean square 1 on the training split.
    """

    mean: Tensor
    projection: Tensor

    @staticmethod
    def fit(train: Samples, dim: int = 48) -> PixelPCA:
        """Fitted on the training split only; fewer components where the data have fewer values or items."""
        x = matrix(train, "training items")
        mean = x.mean(0)
        x = x - mean
        dim = min(dim, x.shape[1], len(x) - 1)
        if x.shape[1] <= len(x):
            vectors = torch.linalg.eigh(x.T @ x).eigenvectors[:, -dim:]
        else:
            vectors = torch.linalg.svd(x, full_matrices=False).Vh[:dim].T
        scale = (x @ vectors).square().mean().sqrt()
        if scale == 0:
            raise UserError("All training items are equal, so they span no feature space; give data that vary.")
        return PixelPCA(mean, vectors / scale)

    @property
    def name(self) -> str:
        return f"pixel-pca{self.projection.shape[1]}"

    def __call__(self, x: Samples) -> Tensor:
        return _apply(x, self.mean, self.projection, self.name)


@dataclass(frozen=True)
class Standardised:
    """The values themselves, each column in units of its standard deviation on the training split.

    For vectors and tables. Constant columns keep the data's unit, so that a sample that departs from one is seen.
    """

    mean: Tensor
    deviation: Tensor

    @staticmethod
    def fit(train: Samples) -> Standardised:
        x = matrix(train, "training items")
        deviation = x.std(0)
        return Standardised(x.mean(0), torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    @property
    def name(self) -> str:
        return f"standardised{len(self.mean)}"

    def __call__(self, x: Samples) -> Tensor:
        return _apply(x, self.mean, torch.diag(1 / self.deviation), self.name)


@dataclass(frozen=True)
class Raw:
    """The values themselves, in the data's own unit."""

    name: str = "raw"

    def __call__(self, x: Samples) -> Tensor:
        return matrix(x, least=1)


def own_units(train: Samples) -> FeatureSpace:
    """The values themselves where all are in one unit (images), else each column in its own deviation (N, D)."""
    return Raw("values") if train.ndim > 2 else Standardised.fit(train)


def default_features(train: Samples) -> FeatureSpace:
    """PixelPCA for images (N, C, H, W) or (N, H, W), Standardised for vectors and tables (N, D)."""
    return PixelPCA.fit(train) if train.ndim > 2 else Standardised.fit(train)
