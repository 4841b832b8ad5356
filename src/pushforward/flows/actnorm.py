"""A scale and a shift per feature, set from data when asked to (Kingma & Dhariwal 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.flows.bijection import Layer
from pushforward.networks.checks import require_positive
from pushforward.networks.made import check_features


class ActNorm(Layer):
    """y = e^s x + b per feature (dimension 1); the identity until `initialise` or a checkpoint sets it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        require_positive(features=features)
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, bias = self._shaped(x)
        return x * log_scale.exp() + bias, self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, bias = self._shaped(y)
        return (y - bias) * (-log_scale).exp(), -self._log_det(y)

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set scale and shift so that every feature of this batch comes out with mean 0 and variance 1."""
        check_features(x.shape[1], len(self.bias))
        values = x.transpose(0, 1).flatten(1)
        mean = values.mean(1)
        deviation = (values - mean[:, None]).square().mean(1).sqrt()
        constant = ~(deviation > 1e-6 * mean.abs().clamp(min=1e-6))
        if bool(constant.any()):
            feature = int(constant.nonzero()[0])
            raise UserError(
                f"Feature {feature} has the same value in all {len(x)} samples, so it cannot be scaled to variance 1: "
                "give a larger batch, add dequantisation noise, or drop it."
            )
        self.log_scale.copy_(-deviation.log())
        self.bias.copy_(-mean / deviation)
        return self(x)[0]

    def _shaped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_features(x.shape[1], len(self.bias))
        shape = (-1, *[1] * (x.ndim - 2))
        return self.log_scale.reshape(shape), self.bias.reshape(shape)

    def _log_det(self, x: Tensor) -> Tensor:
        places = x[0, 0].numel() if len(x) else 1
        return (places * self.log_scale.sum()).expand(len(x))
