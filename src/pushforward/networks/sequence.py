"""Vectors whose numbers follow one another, such as time series, shown to networks of sequences."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class OnVectors(nn.Module):
    """net(x, time, label, …) for vectors (B, D), read as sequences of one channel, (B, 1, D), by a network of these."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, **conditions: Any) -> Tensor:
        found: Tensor = self.network(x[:, None], time, label, **conditions)
        return found[:, 0]
