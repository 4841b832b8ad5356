"""A residual perceptron told a context: what denoises a response given the features of its row."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import check_input, require_positive
from pushforward.networks.embedding import Conditioning
from pushforward.networks.layers import dropout_layer, scaled
from pushforward.networks.mlp import Block
from pushforward.numerics.dropout import number_dropouts


class ContextMLP(nn.Module):
    """net(x, time, context): x (B, features), time (B,), context (B, width) as `encode` gives it, to (B, features).

    The context is encoded once for all the noise levels and samples of a row. Its output is zero at initialisation.
    Its first `features` numbers are an estimate of x, which is always seen; `feature_dropout` is of the others.
    """

    def __init__(
        self,
        features: int,
        context: int,
        width: int = 128,
        depth: int = 2,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(features=features, context=context, width=width, depth=depth)
        self.settings: dict[str, Any] = {
            "features": features,
            "context": context,
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "feature_dropout": feature_dropout,
        }
        self.features = features
        self.conditioning = Conditioning(width)
        self.input = nn.Linear(features, width)
        self.told = nn.Sequential(nn.Linear(context, width), nn.SiLU(), dropout_layer(dropout), nn.Linear(width, width))
        residual = 1 / math.sqrt(depth)
        self.blocks = nn.ModuleList(Block(width, width, dropout, residual) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = scaled(nn.Linear(width, features), 0.0)
        self.feature_dropout = dropout_layer(feature_dropout)
        number_dropouts(self)

    def encode(self, context: Tensor) -> Tensor:
        """What is known of each row (B, context) as the network sees it: (B, width)."""
        estimate, row = context.split((self.features, context.shape[1] - self.features), 1)
        return self.told(torch.cat((estimate, self.feature_dropout(row)), 1))

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        check_input(x, time, 2, self.features, "ContextMLP")
        if context is None:
            raise UserError("this network predicts for rows: bind what is known of them, `given(context=…)`")
        embedding = self.conditioning(time)
        h = self.input(x) + context
        for block in self.blocks:
            h = block(h, embedding)
        return self.output(functional.silu(self.norm(h)))
