"""Vector quantisation: a vector is replaced by the nearest of K codes, which follow the vectors (van den Oord 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.numerics.random import Draws


class Quantised(NamedTuple):
    """Codes int64 (B, …), their vectors (B, d, …) through which gradients pass unchanged, and ‖z − e‖² (B,)."""

    codes: Tensor
    vectors: Tensor
    distance: Tensor


class VectorQuantiser(nn.Module):
    """The nearest of K codes at each place of a map (B, d, …).

    The codes are moving averages of the vectors that chose them, n_k ← γ n_k + (1 − γ) #, m_k ← γ m_k + (1 − γ) Σ z,
    e_k = m_k / n_k: k-means over the training, no gradient and no codebook term in the loss. They start at vectors of
    the first batch. A code whose n_k falls below `revive` times the mean is put on a random vector of the batch, so
    none is lost. They change in `update` alone, which nothing but a training step calls; among several processes
    the first one's batch moves them.

    Args:
        codes: K.
        dim: d.
        decay: γ.
        revive: share of the mean use below which a code is replaced, 0 for never.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor

    def __init__(self, codes: int = 512, dim: int = 64, decay: float = 0.99, revive: float = 0.01) -> None:
        super().__init__()
        if codes < 2 or dim < 1:
            raise UserError(f"A quantiser needs at least two codes of at least one number; got {codes} of {dim}.")
        if not 0 <= decay < 1 or not 0 <= revive < 1:
            raise UserError(f"decay and revive of a quantiser must lie in [0, 1); got {decay} and {revive}.")
        self.codes, self.dim, self.decay, self.revive = codes, dim, decay, revive
        self.register_buffer("codebook", torch.zeros(codes, dim))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, dim))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, z: Tensor) -> Quantised:
        """The codes nearest to z (B, d, …); in the gradient the vectors are z itself (straight through)."""
        if z.ndim < 2 or z.shape[1] != self.dim:
            raise UserError(f"The quantiser has codes of {self.dim} numbers, but was given a map {tuple(z.shape)}.")
        codes = self.nearest(z.movedim(1, -1).reshape(-1, self.dim)).view(len(z), *z.shape[2:])
        found = self.vectors(codes)
        distance = (z - found.detach()).square().flatten(1).sum(1)
        return Quantised(codes, z + (found - z).detach(), distance)

    def vectors(self, codes: Tensor) -> Tensor:
        """int64 (B, …) to (B, d, …)."""
        return self.codebook[codes].movedim(-1, 1)

    @torch.no_grad()
    def nearest(self, rows: Tensor) -> Tensor:
        """The codes nearest to vectors (N, d): int64 (N,)."""
        book = self.codebook
        with torch.autocast(rows.device.type, enabled=False):  # distances of near codes differ in the last digits
            return (book.square().sum(1) - 2 * (rows.to(book.dtype) @ book.T)).argmin(1)  # ‖z‖² is the same for all

    @torch.no_grad()
    def update(self, z: Tensor, draws: Draws) -> None:
        """Move the codes after a training batch z (B, d, …), and put unused ones on vectors of it."""
        rows = z.detach().movedim(1, -1).reshape(-1, self.dim).to(self.codebook.dtype)
        chosen = draws[:1].at("codes").integers(len(rows), (self.codes,))[0]
        start = rows[chosen]
        self._start(start, len(rows))
        one_hot = nn.functional.one_hot(self.nearest(rows), self.codes).to(rows.dtype)
        self.counts.lerp_(one_hot.sum(0), 1 - self.decay)
        with torch.autocast(rows.device.type, enabled=False):
            self.sums.lerp_(one_hot.T @ rows, 1 - self.decay)
        self._revive(start)
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-8)[:, None])

    def usage(self, codes: Tensor) -> tuple[int, float]:
        """(how many codes occur, their perplexity e^entropy) among codes of any shape."""
        share = torch.bincount(codes.reshape(-1), minlength=self.codes).double()
        share = share / share.sum()
        return int((share > 0).sum()), float(torch.special.entr(share).sum().exp())

    def _start(self, start: Tensor, rows: int) -> None:
        mean = rows / self.codes
        self.counts.copy_(torch.where(self.started, self.counts, mean))
        self.codebook.copy_(torch.where(self.started, self.codebook, start))
        self.sums.copy_(torch.where(self.started, self.sums, start * mean))
        self.started.fill_(True)

    def _revive(self, start: Tensor) -> None:
        mean = self.counts.mean()
        dead = self.counts < self.revive * mean
        self.counts.copy_(torch.where(dead, mean, self.counts))
        self.sums.copy_(torch.where(dead[:, None], start * mean, self.sums))
