"""An anisotropic graph network: nodes hear of one another through edges that say how much (after Joshi et al. 2022).

With h the nodes, e the edges and c what is known of the time,

    ê_ij = A e_ij + B h_i + B h_j,        h_i ← h_i + silu(norm(U h_i + Σ_j s(ê_ij)(V h_j + ê_ij) / Σ_j s(ê_ij))),
    e_ij ← e_ij + O silu(norm(ê_ij) (1 + scale(c)) + shift(c)),       s the logistic function.

Edges are undirected, so they stay symmetric; nothing depends on the order of the nodes, so permuted nodes give permuted
answers. All pairs of nodes are edges; a graph is told by a feature of its edges.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive
from pushforward.networks.embedding import Conditioning
from pushforward.networks.layers import scaled


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ends, self.own, self.heard = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.edge, self.out = nn.Linear(width, width, bias=False), scaled(nn.Linear(width, width), 0.5)
        self.film = nn.Linear(width, 2 * width)
        self.node_norm, self.edge_norm = nn.LayerNorm(width), nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, h: Tensor, e: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        ends = self.ends(h)
        mixed = self.edge(e) + ends[:, :, None] + ends[:, None]
        share = torch.sigmoid(mixed)
        heard = (share * (self.heard(h)[:, None] + mixed)).sum(2) / (share.sum(2) + 1e-6)
        scale, shift = self.film(time)[:, None, None].chunk(2, -1)
        e = e + self.out(functional.silu(torch.addcmul(shift, self.edge_norm(mixed), 1 + scale)))
        return h + functional.silu(self.node_norm(self.own(h) + heard)), e


class GraphNet(nn.Module):
    """net(x, time, features): states int64 of nodes (B, n) or of pairs (B, n(n − 1)/2), time (B,), to logits.

    `features` (B, n, n, F) are of the instance: symmetric numbers of each pair of nodes. Pairs are those of
    `torch.triu_indices(n, n, 1)`. The answer has the shape of x with an axis of `symbols`. n may differ from call to
    call. Raises UserError for other shapes.
    """

    def __init__(
        self, features: int, states: int, symbols: int, width: int = 64, depth: int = 6, *, of_pairs: bool = True
    ) -> None:
        super().__init__()
        require_positive(features=features, states=states, symbols=symbols, width=width, depth=depth)
        self.of_pairs = of_pairs
        self.state = nn.Embedding(states, width)
        self.given = nn.Linear(features, width)
        self.begin = nn.Parameter(torch.zeros(width))
        self.time = Conditioning(width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.answer = scaled(nn.Linear(width, symbols), 0.1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, *, features: Tensor) -> Tensor:
        n = features.shape[1]
        sites = n * (n - 1) // 2 if self.of_pairs else n
        if features.ndim != 4 or features.shape[2] != n or x.shape != (len(features), sites):
            raise UserError(
                f"a graph network needs features (B, n, n, F) and states (B, {sites}); got {tuple(features.shape)} and "
                f"{tuple(x.shape)}"
            )
        first, second = torch.triu_indices(n, n, 1, device=x.device)
        h = self.begin.expand(len(x), n, -1)
        e = self.given(features)
        if self.of_pairs:
            e = e + self._placed(self.state(x), first, second, n)
        else:
            h = h + self.state(x)
        known = self.time(time)
        for layer in self.layers:
            h, e = cast(_Layer, layer)(h, e, known)
        return self.answer(self.norm(e[:, first, second] if self.of_pairs else h))

    @staticmethod
    def _placed(pairs: Tensor, first: Tensor, second: Tensor, n: int) -> Tensor:
        """Pairs (B, E, C) as a symmetric (B, n, n, C), 0 on the diagonal."""
        place = torch.zeros(n, n, dtype=torch.int64, device=pairs.device)
        number = torch.arange(1, len(first) + 1, device=pairs.device)
        place[first, second] = place[second, first] = number
        padded = functional.pad(pairs, (0, 0, 1, 0))
        return padded[:, place.reshape(-1)].reshape(len(pairs), n, n, pairs.shape[2])
