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

OUTPUT = 0.1
"""How the last layer starts, beside the others: near zero, but not at it, where the hidden layers would not learn."""
WIDENING = 0.225
"""Of masked hidden layers. Without, units that see few learn late; with 0.5 they fit noise where columns are nearly
independent. Chosen on the validation rows of two tables (benchmarks/RESULTS.md, flows)."""


class ColumnLinear(nn.Module):
    """W h + b on columns: h (inputs, B) to (outputs, B). Starts uniform on ±`scale`/√inputs."""

    def __init__(self, inputs: int, outputs: int, *, scale: float = 1.0) -> None:
        super().__init__()
        bound = scale / math.sqrt(max(inputs, 1))
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs, 1).uniform_(-bound, bound))

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias, self.weight, h)


class MaskedLinear(ColumnLinear):
    """(M ⊙ W) h + b, with M[i, j] = 1 where unit i may see unit j.

    Starts as wide as if every unit saw all, times (all/seen)^`widening`; 0.5 is as wide as what a unit sees asks for.
    """

    mask: Tensor

    def __init__(self, sees: Tensor, *, scale: float = 1.0, widening: float = 0.0) -> None:
        super().__init__(sees.shape[1], sees.shape[0], scale=scale)
        widened = (sees.shape[1] / sees.sum(1, keepdim=True).clamp(min=1)).to(self.weight) ** widening
        self.weight.data.mul_(widened)
        self.bias.data.mul_(widened)
        self.register_buffer("mask", sees.to(self.weight.dtype), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias, self.weight * self.mask, h)


def check_features(given: int, expected: int) -> None:
    if given != expected:
        raise UserError(f"This flow was built for {expected} features at this place; it was given {given}.")


def check_columns(x: Tensor, expected: int) -> None:
    """Refuse what is no matrix of that many features (d, B)."""
    if x.ndim != 2:
        shape = tuple(x.transpose(0, 1).shape) if x.ndim > 1 else tuple(x.shape)
        raise UserError(f"This flow takes vectors (B, features); it was given a batch of shape {shape}.")
    check_features(len(x), expected)


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
    """A ReLU perceptron on columns: (x (d, B), condition (B, c)) to (count, features, B), small at the start.

    It may have no inputs at all: the outputs are then the same for every sample. Without hidden layers it is zero at
    the start.
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        count: int,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        *,
        start: float = OUTPUT,
    ) -> None:
        super().__init__()
        require_positive(features=features, count=count, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.inputs, self.features, self.count, self.context = inputs, features, count, context
        sizes = [inputs + context, *hidden] if inputs + context else [0]
        self.hidden = nn.ModuleList(ColumnLinear(a, b) for a, b in pairwise(sizes))
        self.output = ColumnLinear(sizes[-1], count * features, scale=start if self.hidden else 0.0)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_columns(x, self.inputs)
        h = joined(x, context, self.context)
        for layer in self.hidden:
            h = layer(h).relu_()  # in place: addmm does not need its result again
        return self.output(h).view(self.count, self.features, h.shape[1])


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
    """Masked perceptron (Germain et al. 2015): x (d, B) to (count, d, B), each feature's outputs from those before it.

    `order` lists the features from the first to the last (by default as they stand). The i-th of them has degree
    i + 1, a hidden unit of degree m sees what has degree ≤ m, the i-th outputs see hidden degrees ≤ i. Hidden degrees
    are spread evenly over 1 … d − 1 and sorted, so that what one more known feature sets free is a contiguous slice of
    each layer (`unroll`). A condition (B, c) has degree 0 and so do then some hidden units: it reaches the first
    feature too. The outputs start as small as `start`, 0 for exact zeros.
    """

    def __init__(
        self,
        features: int,
        count: int,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        *,
        order: Sequence[int] | None = None,
        start: float = OUTPUT,
    ) -> None:
        super().__init__()
        require_positive(features=features, count=count, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.features, self.count, self.context = features, count, context
        self.order = list(range(features) if order is None else order)
        if sorted(self.order) != list(range(features)):
            raise UserError(f"An order of {features} features holds 0 … {features - 1} once each; got {self.order}.")
        place = torch.argsort(torch.tensor(self.order, device="cpu"))
        degrees = [torch.cat((torch.zeros(context, dtype=torch.int64, device="cpu"), place + 1))]
        degrees += [hidden_degrees(width, features, bool(context)) for width in hidden]
        self.hidden = nn.ModuleList(
            MaskedLinear(after[:, None] >= before, widening=WIDENING) for before, after in pairwise(degrees)
        )
        self.output = MaskedLinear(place.repeat(count)[:, None] >= degrees[-1], scale=start)
        # How many units of each hidden layer each known feature sets free.
        self.sizes = [torch.bincount(degree, minlength=features).tolist() for degree in degrees[1:]]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_columns(x, self.features)
        h = joined(x, context, self.context)
        for layer in self.hidden:
            h = layer(h).relu_()  # in place: addmm does not need its result again
        return self.output(h).view(self.count, self.features, h.shape[1])

    def unroll(self, like: Tensor, step: Callable[[int, Tensor], Tensor], context: Tensor | None = None) -> Tensor:
        """x (d, B), one feature after the other: x_i = step(i, outputs (count, B) of feature i), i in `order`.

        Each feature computes only the hidden units and the outputs that it sets free: all features together cost about
        half a full pass. `like` (d, B) gives batch, dtype and device.
        """
        check_columns(like, self.features)
        store = _Joined if torch.is_grad_enabled() else _Written
        given = joined(like[:0], context, self.context)
        layers: list[_Rows] = [store(like, self.context + self.features)]
        layers += [store(like, sum(sizes)) for sizes in self.sizes]
        layers[0].add(given)
        slices = self._slices()
        *_, last = slices
        for place, i in enumerate(self.order):
            # The mask is one on everything that the units set free are given here.
            for before, rows, (weights, biases) in zip(layers[:-1], layers[1:], slices[:-1], strict=True):
                if len(weights[place]):
                    known = before.known
                    rows.add(torch.addmm(biases[place], weights[place][:, : len(known)], known).relu_())
            known = layers[-1].known
            layers[0].add(step(i, torch.addmm(last[1][i], last[0][i][:, : len(known)], known))[None])
        found = layers[0].known[self.context :]
        return found if self.order == list(range(self.features)) else found[torch.argsort(torch.tensor(self.order))]

    def _slices(self) -> list[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """Weights and biases of what each feature sets free, per layer; columns of the inputs as they become known."""
        slices: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []
        layers: list[tuple[Tensor, Tensor]] = [(layer.weight, layer.bias) for layer in self._linear()]
        if self.order != list(range(self.features)):
            inputs = [*range(self.context), *(self.context + i for i in self.order)]
            layers[0] = (layers[0][0][:, inputs], layers[0][1])
        for sizes, (weight, bias) in zip(self.sizes, layers[:-1], strict=True):
            slices.append((weight.split(sizes), bias.split(sizes)))
        shape = (self.count, self.features, -1)
        weight, bias = layers[-1]
        slices.append((weight.view(shape).unbind(1), bias.view(shape).unbind(1)))
        return slices

    def _linear(self) -> list[MaskedLinear]:
        return [layer for layer in (*self.hidden, self.output) if isinstance(layer, MaskedLinear)]


def hidden_degrees(width: int, features: int, from_zero: bool) -> Tensor:
    """Sorted degrees of `width` units, spread evenly over 1 … features − 1, or from 0 on where there is a condition."""
    lowest = 0 if from_zero or features == 1 else 1
    return lowest + torch.arange(width, device="cpu") * (features - lowest) // width
