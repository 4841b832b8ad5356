"""A network of rows that hold numbers and categories: noisy numbers and corrupted codes in, both answers out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.networks.mlp import MLP


class MixedRows(nn.Module):
    """net(x, codes, time, label): x (B, N), codes int64 (B, C) to (B, N) and logits (B, C, symbols)."""

    def __init__(
        self,
        numbers: int,
        sites: int,
        states: int,
        symbols: int,
        width: int = 256,
        depth: int = 4,
        num_classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.numbers, self.sites, self.symbols = numbers, sites, symbols
        channels = max(4, min(16, width // max(1, sites)))
        self.embed = nn.Embedding(sites * states, channels)
        self.register_buffer("first", torch.arange(sites) * states, persistent=False)
        outputs = numbers + sites * symbols
        self.mlp = MLP(numbers + sites * channels, width, depth, num_classes, dropout, out_features=outputs)

    def forward(self, x: Tensor, codes: Tensor, time: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != (self.numbers,) or codes.shape[1:] != (self.sites,):
            raise UserError(
                f"The network was built for {self.numbers} numbers and {self.sites} categories; got "
                f"{tuple(x.shape[1:])} and {tuple(codes.shape[1:])}."
            )
        h = torch.cat((x, self.embed(codes + self.get_buffer("first")).flatten(1)), 1)
        out = self.mlp(h, time, label)
        return out[:, : self.numbers], out[:, self.numbers :].unflatten(1, (self.sites, self.symbols))
