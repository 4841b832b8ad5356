"""Plain networks that know nothing of noise: `net(x, time, label=None)`."""

from pushforward.networks.mlp import MLP
from pushforward.networks.unet import UNet

__all__ = ["MLP", "UNet"]
