"""The codes of a quantised first stage by their numbers, which models of symbols learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.latent.regularisers import VQ
from pushforward.latent.stage import Code, FirstStage
from pushforward.models.autoencoder import Autoencoder
from pushforward.models.first_stages import OfVQ
from pushforward.vae.codebook import Codebook
from pushforward.vae.quantiser import VectorQuantiser


class Indices(nn.Module):
    """A first stage whose latents are numbers of codes 0 … K − 1 as pixels of K values, u = 2 i/(K − 1) − 1.

    Raises UserError for a first stage without codes, or with codes that lie on no grid.
    """

    def __init__(self, stage: FirstStage) -> None:
        super().__init__()
        book = _book(stage)
        if book is None or not isinstance(stage, nn.Module) or len(stage.latent_shape) != 3:
            raise UserError(
                f"a model of symbols needs a first stage with codes on a grid (vq, of images); this is a "
                f"{type(stage).__name__}"
            )
        self.stage, self.shape = stage, stage.shape
        self.symbols = book.codes
        self.latent_shape: tuple[int, ...] = (1, *stage.latent_shape[1:])

    def code(self, x: Tensor) -> Code:
        inner: object = self.stage
        assert isinstance(inner, FirstStage)
        book = _book(inner)
        assert book is not None
        return Code(2.0 * book(inner.code(x).mean).codes[:, None].to(x.dtype) / (self.symbols - 1) - 1)

    def decode(self, z: Tensor) -> Tensor:
        inner: object = self.stage
        assert isinstance(inner, FirstStage)
        book = _book(inner)
        assert book is not None
        codes = ((z[:, 0].double() + 1) * (self.symbols - 1) / 2).round().long().clamp(0, self.symbols - 1)
        return inner.decode(book.vectors(codes).to(torch.float32))


def _book(stage: FirstStage) -> Codebook | VectorQuantiser | None:
    if isinstance(stage, Autoencoder) and isinstance(stage.regulariser, VQ):
        return stage.regulariser.book
    return stage.vq.quantiser if isinstance(stage, OfVQ) else None
