"""A codebook learned by gradients, with the two placements of the commitment weight that are in use."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.vae.quantiser import Quantised


class Codebook(nn.Module):
    """The nearest of K codes at each place of a map (B, d, …); codes are parameters.

    penalty = ‖sg z − e‖² + β‖z − sg e‖², summed (van den Oord et al. 2017): the first term moves the codes, the second,
    the commitment, the encoder. With `published` β multiplies the other term, β‖sg z − e‖² + ‖z − sg e‖², as in the
    code that VQGAN and latent diffusion were trained with.

    Args:
        codes: K.
        dim: d.
        commitment: β.
    """

    def __init__(self, codes: int = 512, dim: int = 64, commitment: float = 0.25, published: bool = False) -> None:
        super().__init__()
        if codes < 2 or dim < 1:
            raise UserError(f"A codebook needs at least two codes of at least one number; got {codes} of {dim}.")
        if not 0 < commitment < math.inf:
            raise UserError(f"The weight of the commitment must be a positive number; got {commitment}.")
        self.codes, self.dim, self.commitment, self.published = codes, dim, commitment, published
        self.weight = nn.Parameter(torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes))

    def forward(self, z: Tensor) -> Quantised:
        """The codes nearest to z (B, d, …); in the gradient the vectors are z itself, and no code is moved."""
        if z.ndim < 2 or z.shape[1] != self.dim:
            raise UserError(f"The codebook has codes of {self.dim} numbers, but was given a map {tuple(z.shape)}.")
        rows = z.detach().movedim(1, -1).reshape(-1, self.dim)
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            book = self.weight
            codes = (book.square().sum(1) - 2 * (rows.to(book.dtype) @ book.T)).argmin(1)
        codes = codes.view(len(z), *z.shape[2:])
        found = self.vectors(codes).detach()
        return Quantised(codes, z + (found - z).detach(), _sum((z - found).square()))

    def vectors(self, codes: Tensor) -> Tensor:
        """int64 (B, …) to (B, d, …), differentiable in the codes' vectors."""
        return self.weight[codes].movedim(-1, 1)

    def penalty(self, z: Tensor, codes: Tensor) -> Tensor:
        """What is descended beside the reconstruction: (B,)."""
        vectors = self.vectors(codes)
        book = _sum((z.detach() - vectors).square())
        encoder = _sum((z - vectors.detach()).square())
        return self.commitment * book + encoder if self.published else book + self.commitment * encoder

    def usage(self, codes: Tensor) -> tuple[int, float]:
        """(how many codes occur, their perplexity e^entropy) among codes of any shape."""
        share = torch.bincount(codes.reshape(-1), minlength=self.codes).double()
        share = share / share.sum()
        return int((share > 0).sum()), float(torch.special.entr(share).sum().exp())


def _sum(terms: Tensor) -> Tensor:
    return terms.flatten(1).sum(1)
