"""A network over a map of codes that sees, at each place, only the places before it: an autoregressive law of codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive
from pushforward.networks.perceptron import add_label


class _MaskedConv(nn.Conv2d):
    """A convolution that sees the rows above and, in its own row, what is left of it (and itself unless `strict`)."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, *, strict: bool) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)
        mask = torch.ones(size, size)
        middle = size // 2
        mask[middle, middle + (0 if strict else 1) :] = 0
        mask[middle + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class CausalCodes(nn.Module):
    """net(codes, label): int64 (B, h, w) to log-odds (B, codes, h, w) of each place given those read before it.

    Masked convolutions (van den Oord et al. 2016); `layers` residual ones of 3×3 after a strict one of 5×5.
    """

    def __init__(self, codes: int, width: int = 64, layers: int = 4, num_classes: int = 0) -> None:
        super().__init__()
        require_positive(codes=codes, width=width, layers=layers)
        self.codes = codes
        self.embedding = nn.Embedding(codes, width)
        self.input = _MaskedConv(width, width, 5, strict=True)
        self.label = nn.Embedding(num_classes, width) if num_classes else None
        self.layers = nn.ModuleList(_MaskedConv(width, width, 3, strict=False) for _ in range(layers))
        self.output = nn.Conv2d(width, codes, 1)

    def forward(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        if codes.ndim != 3:
            raise UserError(f"A map of codes has the shape (batch, height, width); got {tuple(codes.shape)}.")
        h = add_label(self.input(self.embedding(codes).movedim(-1, 1)), self.label, label)
        for layer in self.layers:
            h = h + layer(functional.silu(h))
        return self.output(functional.silu(h))
