"""Layers that apply a scalar map to each feature, with parameters from other features (coupling, autoregressive)."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.flows.bijection import Layer
from pushforward.flows.images import ChannelNet
from pushforward.flows.scalar import ScalarMap
from pushforward.networks.made import MADE, ColumnMLP, check_features


def _per_sample(log_slopes: Tensor) -> Tensor:
    """Σ over all but the samples: (C, B, …) -> (B,)."""
    if log_slopes.ndim == 2:
        return log_slopes.sum(0)
    return log_slopes.sum([0, *range(2, log_slopes.ndim)])


class Elementwise(Layer):
    """The same scalar map for every sample, one per feature (dimension 1), or one that depends on a condition."""

    def __init__(self, rule: ScalarMap, features: int, *, context: int = 0) -> None:
        super().__init__()
        self.rule = rule
        self.net = ColumnMLP(0, features, rule.count, (), context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_slopes = self.rule.forward(x.transpose(0, 1), self._raw(x, context))
        return y.transpose(0, 1), _per_sample(log_slopes)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_slopes = self.rule.inverse(y.transpose(0, 1), self._raw(y, context))
        return x.transpose(0, 1), _per_sample(log_slopes)

    def _raw(self, x: Tensor, context: Tensor | None) -> Tensor:
        check_features(x.shape[1], self.net.features)
        # One map among conditional layers may well be the same for all conditions.
        found = self.net(x.new_empty(0, len(x)), context if self.net.context else None)
        return found.reshape(*found.shape, *[1] * (x.ndim - 2)).expand(-1, *x.transpose(0, 1).shape)


class Coupling(Layer):
    """y_b = map(x_b; net(x_a, condition)), y_a = x_a (Dinh et al. 2017; Durkan et al. 2019).

    x_a are the first `split` features (dimension 1), x_b the others, or the other way round with `flip`. `net` maps
    (x_a (a, B, …), condition (B, c)) to parameters (count, b, B, …).
    """

    def __init__(self, rule: ScalarMap, net: ColumnMLP | ChannelNet, split: int, *, flip: bool = False) -> None:
        super().__init__()
        first, kept = (net.features, net.inputs) if flip else (net.inputs, net.inputs)
        if net.count != rule.count or split != first:
            raise UserError(
                f"A coupling of the first {split} features, {rule.count} numbers each, was given a network from {kept} "
                f"features to {net.features} with {net.count} numbers each; sizes must agree."
            )
        self.rule, self.net, self.split, self.flip = rule, net, split, flip

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self._parts(x)
        moved, log_slopes = self.rule.forward(moved, self.net(kept, context))
        return self._whole(kept, moved), _per_sample(log_slopes)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self._parts(y)
        moved, log_slopes = self.rule.inverse(moved, self.net(kept, context))
        return self._whole(kept, moved), _per_sample(log_slopes)

    def pull(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        kept, moved = self._parts(y)
        return self._whole(kept, self.rule.pull(moved, self.net(kept, context)))

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        columns = x.transpose(0, 1)
        check_features(len(columns), self.net.inputs + self.net.features)
        first, second = columns.split([self.split, len(columns) - self.split])
        return (second, first) if self.flip else (first, second)

    def _whole(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat((moved, kept) if self.flip else (kept, moved)).transpose(0, 1)


class Autoregressive(Layer):
    """y_i = map(x_i; net(x_0 … x_{i−1}, condition)): one pass forward, one feature after the other back.

    With `Affine` it is MAF (Papamakarios et al. 2017), its `Inverse` is IAF (Kingma et al. 2016): fast to sample.
    """

    def __init__(self, rule: ScalarMap, net: MADE) -> None:
        super().__init__()
        if net.count != rule.count:
            raise UserError(f"The network gives {net.count} numbers per feature, but its map takes {rule.count}.")
        self.rule, self.net = rule, net

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        columns = x.transpose(0, 1)
        y, log_slopes = self.rule.forward(columns, self.net(columns, context))
        return y.T, log_slopes.sum(0)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        columns = y.transpose(0, 1)
        log_slopes: list[Tensor] = []

        def step(i: int, parameters: Tensor) -> Tensor:
            x_i, log_slope = self.rule.inverse(columns[i], parameters)
            log_slopes.append(log_slope)
            return x_i

        x = self.net.unroll(columns, step, context)
        return x.T, torch.stack(log_slopes).sum(0)

    def pull(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        columns = y.transpose(0, 1)
        return self.net.unroll(columns, lambda i, parameters: self.rule.pull(columns[i], parameters), context).T
