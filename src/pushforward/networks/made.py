"""Perceptrons over columns (one sample per column) and the masked one whose outputs see earlier features only.

Feature-first matrices (d, B) make a layer W h + b, keep every slice of features contiguous, and let one row of
parameters be read for all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive


class ColumnLinear(nn.Module):
    """W h + b on columns: h (inputs, B) to (outputs, B)."""

    def __init__(self, inputs: int, outputs: int, *, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(max(inputs, 1))
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight, h)


class MaskedLinear(ColumnLinear):
    """(M ⊙ W) h + b, with M[i, j] = 1 where unit i may see unit j."""

    mask: Tensor

    def __init__(self, sees: Tensor, *, zero: bool = False) -> None:
        super().__init__(sees.shape[1], sees.shape[0], zero=zero)
        self.register_buffer("mask", sees.to(self.weight.dtype), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight * self.mask, h)


def joined(x: Tensor, context: Tensor | None, expected: int) -> Tensor:
    """The conditions (B, c) as rows above the features x (d, B): (c + d, B).

    Raises UserError where the condition is missing, not asked for, or of another shape.
    """
    if context is None:
        if expected:
            raise UserError(f"This flow was built for a condition of {expected} numbers per sample; none was given.")
        return x
    if context.shape != (x.shape[1], expected) or not expected:
        wanted = f"({x.shape[1]}, {expected})" if expected else "none"
        raise UserError(f"A condition of shape {tuple(context.shape)} was given; this flow expects {wanted}.")
    return torch.cat((context.T.to(x.dtype), x))


class ColumnMLP(nn.Module):
    """A ReLU perceptron on columns: (x (d, B), condition (B, c)) to (count, features, B), zero at initialisation.

    It may have no inputs at all; the outputs are then the same for every sample.
    """

    def __init__(
        self, inputs: int, features: int, count: int, hidden: Sequence[int] = (128, 128), context: int = 0
    ) -> None:
        super().__init__()
        require_positive(features=features, count=count, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.inputs, self.features, self.count, self.context = inputs, features, count, context
        sizes = [inputs + context, *hidden] if inputs + context else [0]
        self.hidden = nn.ModuleList(ColumnLinear(a, b) for a, b in pairwise(sizes))
        self.output = ColumnLinear(sizes[-1], count * features, zero=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = joined(x, context, self.context)
        for layer in self.hidden:
            h = layer(h).relu_()  # in place: addmm does not need its result again
        return self.output(h).unflatten(0, (self.count, self.features))


class _Rows(Protocol):
    """Rows known so far, (known, B)."""

    known: Tensor

    def add(self, rows: Tensor) -> None: ...


class _Joined:
    """Rows that gradients flow through: each addition is a new tensor."""

    def __init__(self, like: Tensor, rows: int) -> None:
        self.known = like[:0]

    def add(self, rows: Tensor) -> None:
        self.known = torch.cat((self.known, rows))


class _Written:
    """Rows written in place into one piece of memory."""

    def __init__(self, like: Tensor, rows: int) -> None:
        self._data = like.new_empty(rows, like.shape[1])
        self._count = 0
        self.known = self._data[:0]

    def add(self, rows: Tensor) -> None:
        stop = self._count + len(rows)
        self._data[self._count : stop] = rows
        self._count, self.known = stop, self._data[:stop]


class MADE(nn.Module):
    """Masked perceptron (Germain et al. 2015): x (d, B) to (count, d, B), where column i sees x_0 … x_{i−1} only.

    Input i has degree i + 1, a hidden unit of degree m sees what has degree ≤ m, output i sees hidden degrees ≤ i.
    Hidden degrees are spread evenly over 1 … d − 1 and sorted, so that what one more known feature sets free is a
    contiguous slice of each layer (`unroll`). A condition (B, c) has degree 0 and so do then some hidden units: it
    reaches the first feature too. The output is zero at initialisation.
    """

    def __init__(self, features: int, count: int, hidden: Sequence[int] = (128, 128), context: int = 0) -> None:
        super().__init__()
        require_positive(features=features, count=count, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.features, self.count, self.context = features, count, context
        degrees = [torch.cat((torch.zeros(context, dtype=torch.int64), torch.arange(1, features + 1)))]
        degrees += [hidden_degrees(width, features, bool(context)) for width in hidden]
        self.hidden = nn.ModuleList(MaskedLinear(after[:, None] >= before) for before, after in pairwise(degrees))
        outputs = torch.arange(features).repeat(count)
        self.output = MaskedLinear(outputs[:, None] >= degrees[-1], zero=True)
        # ends[l][i]: how many units of layer l are known once features 0 … i − 1 are.
        self.ends = [[int((degree <= i).sum()) for i in range(features)] for degree in degrees]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = joined(x, context, self.context)
        for layer in self.hidden:
            h = layer(h).relu_()  # in place: addmm does not need its result again
        return self.output(h).unflatten(0, (self.count, self.features))

    def unroll(self, like: Tensor, step: Callable[[int, Tensor], Tensor], context: Tensor | None = None) -> Tensor:
        """x (d, B), feature by feature: x_i = step(i, outputs (count, B) for feature i).

        Each feature computes only the hidden units and the outputs that it sets free: all features together cost about
        half a full pass. `like` (d, B) gives batch, dtype and device.
        """
        store = _Joined if torch.is_grad_enabled() else _Written
        layers: list[_Rows] = [store(like, ends[-1] + 1) for ends in self.ends]
        layers[0].add(joined(like[:0], context, self.context))
        weight = self.output.weight.unflatten(0, (self.count, self.features))
        bias = self.output.bias.unflatten(0, (self.count, self.features))
        for i in range(self.features):
            self._set_free(i, layers)
            known = layers[-1].known
            outputs = torch.addmm(bias[:, i, None], weight[:, i, : len(known)], known)
            layers[0].add(step(i, outputs)[None])
        return layers[0].known[self.context :]

    def _set_free(self, i: int, layers: list[_Rows]) -> None:
        """The hidden units of degree i; the mask is one on everything that they are given here."""
        for before, rows, layer, ends in zip(layers[:-1], layers[1:], self.hidden, self.ends[1:], strict=True):
            start, stop = len(rows.known), ends[i]
            if start < stop:
                assert isinstance(layer, MaskedLinear)
                weight = layer.weight[start:stop, : len(before.known)]
                rows.add(torch.addmm(layer.bias[start:stop, None], weight, before.known).relu_())


def hidden_degrees(width: int, features: int, from_zero: bool) -> Tensor:
    """Sorted degrees of `width` units, spread evenly over 1 … features − 1, or from 0 on where there is a condition."""
    lowest = 0 if from_zero or features == 1 else 1
    return lowest + torch.arange(width) * (features - lowest) // width
