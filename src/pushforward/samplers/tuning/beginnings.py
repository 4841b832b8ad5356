"""Where fitting begins: nodes even in the logarithm of the noise, over several ranges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch

from pushforward.samplers.tuning.starts import Task
from pushforward.samplers.unrolled import Coefficients

_NOISE_END = 6.0
"""Where the nodes may begin on a path that starts at α = 0: log σ/α."""


SHAPES = tuple(itertools.product((2.5, 4.5), (0.03, 0.1, 0.3)))
"""Beginnings: the first node, over the data's largest principal deviation, and the last, over σ_data."""


def beginnings(train: Task, evaluations: int, sigma_data: float) -> Iterator[Coefficients]:
    """The coefficients of every shape for n evaluations, to be fitted."""
    path = train.denoiser.path
    start, end = (path.level(t).ratio for t in (path.t_max, path.t_min))
    ends = (min(math.log(start), _NOISE_END) if start < math.inf else _NOISE_END, math.log(end))
    flat = train.ends.flatten(1)
    largest = float(torch.linalg.matrix_norm(flat, 2)) / math.sqrt(len(flat))
    for first, last in SHAPES:
        high = min(math.log(first * largest), ends[0] - 0.1)
        low = min(max(math.log(last * sigma_data), ends[1] + 0.1), high - 0.5)
        nodes = torch.linspace(high, low, evaluations, dtype=torch.float64).tolist()
        yield Coefficients(ends, sigma_data, nodes, order=3)
