"""Networks of whole numbers that are no sequence: rows of a table, and pictures. `net(x, time, label)` -> logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.mlp import MLP
from pushforward.networks.unet import UNet

_EACH = 64
"""Symbols for which a picture's network answers a number for each; of more levels a logistic law's place and width."""


class RowLogits(nn.Module):
    """x int64 (B, D), each site with embeddings of its own, through a residual perceptron to (B, D, symbols)."""

    def __init__(
        self,
        sites: int,
        states: int,
        symbols: int,
        width: int = 128,
        depth: int = 3,
        num_classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sites, self.states, self.symbols = sites, states, symbols
        channels = max(4, min(32, width // max(1, sites // 4)))
        self.embed = nn.Embedding(sites * states, channels)
        self.mlp = MLP(sites * channels, width, depth, num_classes, dropout, out_features=sites * symbols)
        self.register_buffer("first", torch.arange(sites) * states, persistent=False)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        if x.shape[1:] != (self.sites,):
            raise UserError(f"The network was built for rows of {self.sites} symbols; got {tuple(x.shape[1:])}.")
        h = self.embed(x + self.get_buffer("first")).flatten(1)
        return self.mlp(h, time, label).unflatten(1, (self.sites, self.symbols))


class PictureLogits(nn.Module):
    """x int64 (B, C, H, W) of ordered levels through a U-Net to (B, C, H, W, symbols).

    The U-Net sees the level in [−1, 1] (0 where it is masked) and whether it is masked. Up to 64 levels it answers a
    number for each; beyond, the place and width of a logistic law cut to the levels (Salimans et al. 2017; Campbell et
    al. 2022), added to what the pixel itself shows.
    """

    def __init__(
        self,
        channels: int,
        states: int,
        symbols: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        num_classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.symbols = channels, symbols
        self.each = symbols <= _EACH
        outputs = channels * (symbols if self.each else 2)
        self.unet = UNet(
            2 * channels, width, multipliers, blocks, None, num_classes, dropout=dropout, out_channels=outputs
        )
        self.masks = states > symbols

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        hidden = (x >= self.symbols).float()
        seen = (2.0 * x / (self.symbols - 1) - 1) * (1 - hidden)
        out = self.unet(torch.cat((seen, hidden), 1), time, label).unflatten(1, (self.channels, -1)).movedim(2, -1)
        if self.each:
            return out
        return logistic_logits(seen + out[..., 0], out[..., 1] + math.log(0.2), self.symbols)


def logistic_logits(mean: Tensor, log_scale: Tensor, symbols: int) -> Tensor:
    """log of a logistic law's mass in each of so many cells of [−1, 1], the end cells open: (…,) -> (…, symbols).

    log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^{a − b}).
    """
    half = 1.0 / (symbols - 1)
    centre = torch.linspace(-1, 1, symbols, device=mean.device, dtype=mean.dtype)
    inverse = torch.exp(-log_scale.clamp(min=-7.0)).unsqueeze(-1)
    low = (centre - half - mean.unsqueeze(-1)) * inverse
    high = (centre + half - mean.unsqueeze(-1)) * inverse
    inside = functional.logsigmoid(high) + functional.logsigmoid(-low) + torch.log(-torch.expm1(low - high))
    first, last = functional.logsigmoid(high[..., :1]), functional.logsigmoid(-low[..., -1:])
    return torch.cat((first, inside[..., 1:-1], last), -1)
