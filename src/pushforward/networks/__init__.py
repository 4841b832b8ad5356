"""Plain networks that know nothing of noise: `net(x, time, label=None, …)`."""

from pushforward.networks.dit import DiT
from pushforward.networks.magnitude_unet import MagnitudeUNet
from pushforward.networks.mlp import MLP
from pushforward.networks.sequence import OnVectors
from pushforward.networks.unet import UNet

__all__ = ["MLP", "DiT", "MagnitudeUNet", "OnVectors", "UNet"]
