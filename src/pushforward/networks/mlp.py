"""A residual perceptron for vectors and tables."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from pushforward.networks.checks import check_input, check_label, require_positive
from pushforward.networks.conditions import VECTOR, VectorCondition, drop_of
from pushforward.networks.embedding import Conditioning
from pushforward.networks.layers import dropout_layer, scaled
from pushforward.numerics.dropout import number_dropouts


class Block(nn.Module):
    """h + W₂ silu(W₁ film(norm h))."""

    def __init__(self, width: int, embedding: int, dropout: float, residual: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(embedding, 2 * width)
        self.inner = nn.Linear(width, width)
        self.dropout = dropout_layer(dropout)
        self.outer = scaled(nn.Linear(width, width), residual)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding).chunk(2, 1)
        y = self.norm(h) * (1 + scale) + shift
        return h + self.outer(self.dropout(functional.silu(self.inner(y))))


class MLP(nn.Module):
    """net(x, time, label, vector) for vectors: x (B, features), time (B,), label (B,) or None, to (B, out_features).

    The output is exactly zero at initialisation. `dropout` is a probability; `out_features` defaults to `features`;
    `vector` are the features of a condition, 0 for none (`networks.conditions`). Raises UserError for other shapes or
    unknown labels.
    """

    def __init__(
        self,
        features: int,
        width: int = 256,
        depth: int = 4,
        num_classes: int | None = None,
        dropout: float = 0.0,
        out_features: int | None = None,
        vector: int = 0,
    ) -> None:
        super().__init__()
        out_features = features if out_features is None else out_features
        require_positive(features=features, width=width, depth=depth, out_features=out_features)
        self.settings: dict[str, Any] = {
            "features": features,
            "width": width,
            "depth": depth,
            "num_classes": num_classes,
            "dropout": dropout,
            "out_features": out_features,
            "vector": vector,
        }
        self.features, self.num_classes = features, num_classes
        self.conditioning = Conditioning(width, num_classes)
        self.vector = VectorCondition(vector, width) if vector else None
        self.input = nn.Linear(features, width)
        residual = 1 / math.sqrt(depth)
        self.blocks = nn.ModuleList(Block(width, width, dropout, residual) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = scaled(nn.Linear(width, out_features), 0.0)
        number_dropouts(self)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Tensor:
        check_input(x, time, 2, self.features, "MLP")
        check_label(label, len(x), self.num_classes)
        extra = None if self.vector is None else self.vector(vector, drop_of(dropped, VECTOR))
        embedding = self.conditioning(time, label, extra)
        h = self.input(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.output(functional.silu(self.norm(h)))
