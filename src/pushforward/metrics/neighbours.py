"""What nearest neighbours say of samples: fidelity, variety, copies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.metrics.checks import Samples, pair

_ENTRIES = 2**24  # entries of a distance matrix held at a time: 128 MiB


class Neighbours(NamedTuple):
    """Distances (N, k), ascending, and the numbers (N, k) of the items that they lead to."""

    distances: Tensor
    items: Tensor


def _chunks(x: Tensor, columns: int) -> tuple[Tensor, ...]:
    return x.split(max(1, _ENTRIES // columns))


def nearest(samples: Samples, train: Samples, k: int = 1) -> Neighbours:
    """The k nearest items of `train` to each sample, in Euclidean distance."""
    a, b = pair(samples, train, ("samples", "training items"), least=1)
    if not 1 <= k <= len(b):
        raise UserError(f"{k} nearest of {len(b)} training items were asked for; ask for 1 to {len(b)}.")
    items = torch.cat([torch.cdist(rows, b).topk(k, dim=1, largest=False).indices for rows in _chunks(a, len(b))])
    # Distances by matrix products lose digits near zero: those that were found are computed again, so a copy is at 0.
    distances = torch.stack([(a - b[items[:, i]]).norm(dim=1) for i in range(k)], 1)
    return Neighbours(distances, items)


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each item to its k-th nearest other item: (N,)."""
    if len(x) <= k:
        raise UserError(f"The {k}-nearest-neighbour metrics need more than {k} items, but were given {len(x)}.")
    # The item itself is among the k + 1 nearest, at distance 0.
    return torch.cat([torch.cdist(rows, x).kthvalue(k + 1, dim=1).values for rows in _chunks(x, len(x))])


def _covered(points: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Which of the points lie in the balls around the centres: bool (points, centres)."""
    return torch.cat([torch.cdist(rows, centres) <= radii for rows in _chunks(points, len(centres))])


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: of samples that lie on the real manifold, and of real items on the samples' manifold."""

    precision: float
    recall: float


def precision_recall(samples: Samples, real: Samples, k: int = 5) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019); a manifold is a union of k-nearest-neighbour balls."""
    a, b = pair(samples, real)
    precision = _covered(a, b, _radii(b, k)).any(1).double().mean()
    recall = _covered(b, a, _radii(a, k)).any(1).double().mean()
    return PrecisionRecall(float(precision), float(recall))


class DensityCoverage(NamedTuple):
    """Density (about 1 for equal laws, may exceed it) and coverage in [0, 1]."""

    density: float
    coverage: float


def density_coverage(samples: Samples, real: Samples, k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020), both with the balls of the real items, so robust to odd samples.

    Density is the mean number of real balls that hold a sample, over k; coverage the share of real balls with a sample.
    """
    a, b = pair(samples, real)
    inside = _covered(a, b, _radii(b, k))
    return DensityCoverage(float(inside.double().sum(1).mean() / k), float(inside.any(0).double().mean()))


def near_copies(samples: Samples, train: Samples, test: Samples, quantile: float = 0.05) -> float:
    """Share of samples as near to a training item as the nearest `quantile` of the test items are.

    Fresh data give about `quantile` (more where the data themselves repeat items); a model that repeats its training
    data gives nearly 1.
    """
    threshold = nearest(test, train).distances[:, 0].quantile(quantile)
    return float((nearest(samples, train).distances[:, 0] <= threshold).double().mean())
