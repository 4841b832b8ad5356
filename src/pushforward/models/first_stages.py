"""Autoencoders of other kinds as first stages: a VAE, or one of vector-quantised latents, as they were trained."""

from __future__ import annotations

from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.latent.stage import Code, FirstStage
from pushforward.models.autoencoder import Autoencoder
from pushforward.models.family import Family
from pushforward.models.vae import VAE
from pushforward.models.vq import VQAutoencoder
from pushforward.vae.posteriors import Diagonal


class OfVAE(nn.Module):
    """A trained `VAE`: z is the centre of q(z | x), decoded to E[x | z]."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        if vae.num_classes:
            raise UserError(
                "a first stage is told no classes, and this autoencoder was trained with them: train it with "
                "model.conditional=false; the latent model learns the classes"
            )
        self.vae, self.shape = vae, vae.shape
        self.latent_shape: tuple[int, ...] = (vae.posterior.latent,)

    def code(self, x: Tensor) -> Code:
        return Code(self.vae.encode(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.vae.decode(z)


class OfDiagonalVAE(OfVAE):
    """Where q(z | x) is diagonal its deviation is known too, so that a latent model over it has an evidence bound."""

    exact = False

    @property
    def discrete(self) -> bool:
        """Whether its likelihood is of whole numbers."""
        return self.vae.discrete

    def code(self, x: Tensor) -> Code:
        posterior, raw = self.vae.posterior, self.vae.raw_posterior(x)
        assert isinstance(posterior, Diagonal)
        return Code(posterior.centre(raw), posterior.deviation(raw))

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z): (B,)."""
        return self.vae.log_likelihood(x, z)


class OfVQ(nn.Module):
    """A trained `VQAutoencoder`: z before it is quantised, which `decode` does (Rombach et al. 2022)."""

    def __init__(self, vq: VQAutoencoder) -> None:
        super().__init__()
        self.vq, self.shape = vq, vq.shape
        self.latent_shape: tuple[int, ...] = (vq.quantiser.dim, *vq.grid)

    def code(self, x: Tensor) -> Code:
        return Code(self.vq.vectors(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.vq.decode_vectors(self.vq.quantiser(z).vectors)


def first_stage_of(model: Family) -> FirstStage:
    """The first stage that a trained autoencoder of any kind is. Raises UserError for other families."""
    if isinstance(model, Autoencoder):
        return model
    if isinstance(model, VAE):
        return (OfDiagonalVAE if isinstance(model.posterior, Diagonal) else OfVAE)(model)
    if isinstance(model, VQAutoencoder):
        return OfVQ(model)
    raise UserError(
        f"a first stage is an autoencoder (the family vae, or one made for a latent model); this is a "
        f"{type(model).__name__}"
    )
