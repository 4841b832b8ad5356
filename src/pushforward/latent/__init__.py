"""What latent models are made of: first stages, their units, and what trains an autoencoder."""

from pushforward.latent.adversary import Adversary, adaptive_weight
from pushforward.latent.foreign import Foreign
from pushforward.latent.pca import PCA
from pushforward.latent.perceptual import Features, Perceptual
from pushforward.latent.regularisers import KL, VQ, Regularised, Regulariser
from pushforward.latent.stage import Code, Explains, FirstStage, Fitted
from pushforward.latent.standard import Standard
from pushforward.latent.tiles import Tiling, tiled_decode, tiled_encode

__all__ = [
    "KL",
    "PCA",
    "VQ",
    "Adversary",
    "Code",
    "Explains",
    "Features",
    "FirstStage",
    "Fitted",
    "Foreign",
    "Perceptual",
    "Regularised",
    "Regulariser",
    "Standard",
    "Tiling",
    "adaptive_weight",
    "tiled_decode",
    "tiled_encode",
]
