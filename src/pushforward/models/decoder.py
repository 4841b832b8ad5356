"""The last step of a bound for data of a form: probabilities of whole numbers, densities of real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.data.columns import Columns
from pushforward.data.format import Format
from pushforward.data.numbers import is_integer
from pushforward.data.pixels import Pixels
from pushforward.errors import UserError
from pushforward.objectives.decoders import Decoder, DiscretisedGaussian, exact_interval, gaussian_density


@dataclass(frozen=True, eq=False)
class ByColumn:
    """P of the cell around x_0 in columns of whole numbers, the first and last cell reaching to infinity; else log p.

    `low`, `high` and `width` are in model units, float64 (D,); width is 0 where a column is real.
    """

    low: Tensor
    high: Tensor
    width: Tensor

    def __call__(self, x0: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
        low, high, width = (v.to(x0.device) for v in (self.low, self.high, self.width))
        counted, half = width > 0, width / 2
        x0, mean, sd = (v.to(torch.float64) for v in (x0, mean, sd))
        a = torch.where(x0 < low + half / 2, -math.inf, (x0 - half - mean) / sd)
        b = torch.where(x0 > high - half / 2, math.inf, (x0 + half - mean) / sd)
        # of real columns the ends are replaced: a cell of no width has no logarithm, nor a gradient
        cells = exact_interval(torch.where(counted, a, -1.0), torch.where(counted, b, 1.0))
        return torch.where(counted, cells, gaussian_density(x0, mean, sd))


def decoder_of(form: Format) -> Decoder:
    """The decoder for the levels that the data has. Raises UserError for texts and responses."""
    coding = form.coding
    if isinstance(coding, Pixels):
        whole = is_integer(coding.dtype) and coding.high > coding.low
        return DiscretisedGaussian(bins=round(coding.high - coding.low) + 1) if whole else gaussian_density
    if not isinstance(coding, Columns):
        raise UserError("a variational bound is of pictures and of columns of numbers; these data have none")
    at = coding.varying
    counted = torch.tensor([is_integer(coding.dtypes[i]) for i in at])
    if not bool(counted.any()):
        return gaussian_density
    scale, offset = (torch.tensor(v, dtype=torch.float64) for v in (coding.scale, coding.offset))
    low, high = (torch.tensor([v[i] for i in at], dtype=torch.float64) for v in (coding.low, coding.high))
    return ByColumn((low - offset) / scale, (high - offset) / scale, torch.where(counted, 1 / scale, 0.0))
