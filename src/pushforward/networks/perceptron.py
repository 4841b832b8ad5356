"""A plain perceptron between items of any shape, label in: what small encoders and decoders are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive


class Perceptron(nn.Module):
    """net(x, label): x (B, *inputs) to (B, *outputs), through SiLU layers of the widths in `hidden`.

    With `num_classes` a learned vector of the label (B,) is added before the first activation; without, there is none.
    No `hidden` is a linear map. Raises UserError for other shapes and for labels that are missing or unknown.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], hidden: Sequence[int] = (200, 200), num_classes: int = 0
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.num_classes = tuple(inputs), tuple(outputs), num_classes
        sizes = [math.prod(inputs), *hidden, math.prod(outputs)]
        require_positive(
            inputs=sizes[0], outputs=sizes[-1], **{f"hidden[{i}]": width for i, width in enumerate(hidden)}
        )
        self.settings: dict[str, Any] = {
            "inputs": list(inputs),
            "outputs": list(outputs),
            "hidden": list(hidden),
            "num_classes": num_classes,
        }
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.label = nn.Embedding(num_classes, sizes[1]) if num_classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        if x.shape[1:] != self.inputs:
            raise UserError(
                f"The perceptron was built for items of shape {self.inputs}, but was given {tuple(x.shape[1:])}."
            )
        h = self.layers[0](x.flatten(1))
        h = add_label(h, self.label, label)
        for layer in self.layers[1:]:
            h = layer(functional.silu(h))
        return h.unflatten(1, self.outputs)


def add_label(h: Tensor, embedding: nn.Embedding | None, label: Tensor | None) -> Tensor:
    """h (B, width, …) plus the label's vector, the same at every place. Raises UserError where one has no other."""
    if embedding is None:
        if label is not None:
            raise UserError("Labels were given to a network without classes; build it with num_classes, or pass None.")
        return h
    if label is None:
        raise UserError(f"The network was built for labels of {embedding.num_embeddings} classes; none were given.")
    classes = embedding.num_embeddings
    if label.device.type == "cpu" and label.numel():  # looking at values would make an accelerator wait
        low, high = int(label.min()), int(label.max())
        if low < 0 or high >= classes:
            raise UserError(f"Labels from {low} to {high} were given; expected 0 … {classes - 1}.")
    return h + embedding(label).reshape(len(h), -1, *(1,) * (h.ndim - 2))
