"""Boosted trees as tensors: grown by scikit-learn, stored and evaluated without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.errors import UserError


class Trees(nn.Module):
    """base + Σ over trees of the leaf that x falls into, per output: x (B, F) -> (B, outputs).

    All tensors have the size of the largest forest that the settings allow: trees that were not grown are leaves of
    value 0, so that a stored forest is read without knowing its data.
    """

    feature: Tensor
    threshold: Tensor
    below: Tensor
    value: Tensor
    base: Tensor

    def __init__(self, outputs: int, trees: int, leaves: int) -> None:
        super().__init__()
        self.outputs, self.trees, self.nodes = outputs, trees, 2 * leaves - 1
        shape = (outputs, trees, self.nodes)
        self.register_buffer("feature", torch.zeros(shape, dtype=torch.int16))
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("below", torch.zeros(*shape, 2, dtype=torch.int16))
        self.register_buffer("value", torch.zeros(shape, dtype=torch.float32))
        self.register_buffer("base", torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.empty(len(x), self.outputs, device=x.device)
        wide = x.double()
        for start in range(0, len(x), 4096):
            rows = slice(start, start + 4096)
            for k in range(self.outputs):
                out[rows, k] = self.base[k] + self._forest(wide[rows], k)
        return out

    def _forest(self, x: Tensor, output: int) -> Tensor:
        """Σ over the trees of one output: every row walks down all of them at once. A leaf is its own child."""
        feature, children = self.feature[output].long(), self.below[output].long()
        at = torch.zeros(self.trees, len(x), dtype=torch.int64, device=x.device)
        tree = torch.arange(self.trees, device=x.device)[:, None]
        while True:
            right = x.T[feature[tree, at], torch.arange(len(x), device=x.device)] > self.threshold[output][tree, at]
            following = children[tree, at, right.long()]
            if torch.equal(following, at):
                return self.value[output][tree, at].sum(0)
            at = following

    def take(self, output: int, model: Any) -> None:
        """The trees of a fitted histogram gradient booster (of one output, or of one class's margin)."""
        self.fill(output, [stage[0] for stage in model._predictors], float(np.ravel(model._baseline_prediction)[0]))

    def fill(self, output: int, grown: list[Any], base: float) -> None:
        """Trees with scikit-learn's node tables. Raises UserError for more or larger ones than there is room for."""
        self.base[output] = base
        self.value[output].zero_()
        self.below[output].zero_()
        if len(grown) > self.trees:
            raise UserError(f"there is room for {self.trees} trees; {len(grown)} were grown")
        for number, tree in enumerate(grown):
            self._fill_one(output, number, tree.nodes)

    def _fill_one(self, output: int, number: int, nodes: np.ndarray) -> None:
        count = len(nodes)
        if count > self.nodes:
            raise UserError(f"there is room for trees of {self.nodes} nodes; one has {count}")
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(count)
        children = np.stack([np.where(leaf, own, nodes[side].astype(np.int64)) for side in ("left", "right")], 1)
        at = (output, number, slice(count))
        self.feature[at] = torch.from_numpy(np.where(leaf, 0, nodes["feature_idx"]).astype(np.int16))
        finite = np.clip(np.where(leaf, 0.0, nodes["num_threshold"]), -1e300, 1e300)
        self.threshold[at] = torch.from_numpy(finite)
        self.below[at] = torch.from_numpy(children.astype(np.int16))
        self.value[at] = torch.from_numpy(np.where(leaf, nodes["value"], 0.0).astype(np.float32))
