"""A U-Net of magnitude-preserving layers (Karras et al. 2024, "EDM2"): sizes stay, whatever the depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.networks.attention import attend, heads_of
from pushforward.networks.checkpointing import recomputed
from pushforward.networks.checks import check_input, check_label, require_positive
from pushforward.networks.embedding import FourierTime
from pushforward.networks.layers import dropout_layer
from pushforward.networks.magnitude import Kept, beside, mixed, silu, unit
from pushforward.numerics.dropout import number_dropouts


class _Embedding(nn.Module):
    """Time and label to one vector of unit size, (B, width)."""

    def __init__(self, width: int, num_classes: int | None) -> None:
        super().__init__()
        self.fourier = FourierTime()
        self.time = Kept(self.fourier.features, width)
        self.label = None if num_classes is None else Kept(num_classes, width)
        self.num_classes = num_classes

    def forward(self, time: Tensor, label: Tensor | None) -> Tensor:
        h = self.time(self.fourier(time.to(self.time.weight.dtype)))
        if self.label is not None and self.num_classes is not None and label is not None:
            # "no label" is a row of zeros; a class is √classes · one-hot, of unit size
            one_hot = functional.one_hot(label, self.num_classes + 1)[:, : self.num_classes].to(h)
            known = (label < self.num_classes)[:, None]
            h = torch.where(known, mixed(h, self.label(one_hot * self.num_classes**0.5), 0.5), h)
        return silu(h)


class _Block(nn.Module):
    """mixed(x, branch): the branch's gain by channel is 1 + gain·linear(embedding), the gain zero at initialisation."""

    def __init__(self, inputs: int, outputs: int, embedding: int, attention: bool, dropout: float, up: bool) -> None:
        super().__init__()
        self.up = up
        self.skip = None if inputs == outputs else Kept(inputs, outputs, (1, 1))
        self.inner = Kept(inputs if up else outputs, outputs, (3, 3))
        self.gain = nn.Parameter(torch.zeros(()))
        self.modulate = Kept(embedding, outputs)
        self.dropout = dropout_layer(dropout)
        self.outer = Kept(outputs, outputs, (3, 3))
        self.heads = heads_of(outputs)
        self.project = Kept(outputs, 3 * outputs, (1, 1)) if attention else None
        self.mix = Kept(outputs, outputs, (1, 1)) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if not self.up:
            x = unit(x if self.skip is None else self.skip(x))
        h = self.inner(silu(x))
        h = h * (1 + self.modulate(embedding, self.gain))[:, :, None, None]
        h = self.outer(self.dropout(silu(h)))
        if self.up and self.skip is not None:
            x = self.skip(x)
        x = mixed(x, h)
        if self.project is not None and self.mix is not None:
            x = mixed(x, self.mix(self._attended(x)))
        return x.clamp(-256, 256)

    def _attended(self, x: Tensor) -> Tensor:
        assert self.project is not None
        q, k, v = self.project(x).flatten(2).transpose(1, 2).chunk(3, 2)
        split = (part.unflatten(2, (self.heads, -1)) for part in (q, k, v))
        q, k, v = (unit(part.transpose(1, 3)).transpose(1, 3).flatten(2) for part in split)
        return attend(q, k, v, self.heads).transpose(1, 2).reshape(x.shape)


class MagnitudeUNet(nn.Module):
    """net(x, time, label) for images, as `UNet`, of magnitude-preserving layers: no norms, no biases.

    Level i has `width·multipliers[i]` channels and half the size of level i − 1, rounded up. The output is exactly zero
    at initialisation, by a gain. Raises UserError for other shapes or unknown labels.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 2,
        num_classes: int | None = None,
        dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        levels = len(multipliers)
        require_positive(channels=channels, width=width, blocks=blocks, levels=levels)
        self.settings: dict[str, Any] = {
            "channels": channels,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "num_classes": num_classes,
            "dropout": dropout,
            "recompute": recompute,
        }
        self.channels, self.num_classes, self.recompute = channels, num_classes, recompute
        embedding = 4 * width
        self.embedding = _Embedding(embedding, num_classes)
        widths = [width * m for m in multipliers]
        self.input = Kept(channels + 1, widths[0], (3, 3))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        h, skips = widths[0], [widths[0]]
        for level, w in enumerate(widths):
            deepest = level == levels - 1
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(_Block(h, w, embedding, deepest, dropout, up=False))
                h = w
                skips.append(h)
            self.down.append(stage)
        for level, w in reversed(list(enumerate(widths))):
            deepest = level == levels - 1
            stage = nn.ModuleList()
            for _ in range(blocks + (level == 0)):
                stage.append(_Block(h + skips.pop(), w, embedding, deepest, dropout, up=True))
                h = w
            self.up.append(stage)
        self.output = Kept(h, channels, (3, 3))
        self.gain = nn.Parameter(torch.zeros(()))
        number_dropouts(self)

    @staticmethod
    def _stages(stages: nn.ModuleList) -> list[list[nn.Module]]:
        return [list(stage.children()) for stage in stages]

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        check_input(x, time, 4, self.channels, "MagnitudeUNet")
        check_label(label, len(x), self.num_classes)
        embedding = self.embedding(time, label)
        h = self.input(torch.cat((x, torch.ones_like(x[:, :1])), 1))  # a channel of ones in the place of biases
        h = h.contiguous(memory_format=torch.channels_last)
        skips = [h]
        for level, stage in enumerate(self._stages(self.down)):
            h = functional.avg_pool2d(h, 2, ceil_mode=True) if level else h
            for block in stage:
                h = recomputed(self.recompute, block, h, embedding)
                skips.append(h)
        for stage in self._stages(self.up):
            for block in stage:
                skip = skips.pop()
                if skip.shape[-2:] != h.shape[-2:]:
                    h = functional.interpolate(h, skip.shape[-2:], mode="nearest")
                h = recomputed(self.recompute, block, beside(h, skip), embedding)
        return self.output(h, self.gain)
