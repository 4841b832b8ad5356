"""Time and label, as a network sees them: one vector per item."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pushforward.numerics.broadcast import one_if_shared


class FourierTime(nn.Module):
    """Fixed Fourier features of a time: t ↦ √2 (cos 2π f_k t, sin 2π f_k t), (B,) -> (B, features).

    The f_k are geometric from `lowest` to `highest` cycles per unit: for t in about [-3, 3] the slowest wave never
    repeats, the fastest tells times 0.03 apart, and nothing is drawn at random.
    """

    def __init__(self, features: int = 64, lowest: float = 1 / 16, highest: float = 8.0) -> None:
        super().__init__()
        count = features // 2
        exponents = torch.linspace(math.log(lowest), math.log(highest), count, dtype=torch.float64)
        self.register_buffer("frequencies", (2 * math.pi * exponents.exp()).float(), persistent=False)
        self.features = 2 * count

    def forward(self, time: Tensor) -> Tensor:
        angle = time[:, None] * self.get_buffer("frequencies")
        return math.sqrt(2.0) * torch.cat((angle.cos(), angle.sin()), 1)


class Conditioning(nn.Module):
    """Time (B,) and label (B,) to one vector (B, width), already activated; the label num_classes means "no label".

    Where one time was expanded to the batch, as in sampling, and nothing else tells items apart, it is one vector for
    all, (1, width), and what is made of it is made once.

    The label's embedding is added to the time's; "no label" is a learned row of its own, so that one network serves
    conditional and unconditional sampling (classifier-free guidance, Ho & Salimans 2022).
    """

    def __init__(self, width: int, num_classes: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fourier = FourierTime()
        self.inner = nn.Linear(self.fourier.features, width)
        self.outer = nn.Linear(width, width)
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)

    def forward(self, time: Tensor, label: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """`extra` (B or 1, width) is what other conditions add."""
        features = self.fourier(one_if_shared(time).to(self.inner.weight.dtype))
        h = self.outer(nn.functional.silu(self.inner(features)))
        if self.label is not None and self.num_classes is not None:
            if label is None:
                h = h + self.label.weight[self.num_classes]
            else:
                h = h + self.label(label)
        if extra is not None:
            h = h + extra
        return nn.functional.silu(h)
