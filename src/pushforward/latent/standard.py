"""Latents in units of their own: mean 0 and deviation 1, measured on the whole training set and stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pushforward.latent.stage import Code

_LEAST = 1e-6
"""Of a deviation: a channel that never varies is left as it is."""


class Standard(nn.Module):
    """u = (z − shift)/scale, shift and scale one number per channel (or per coordinate of a vector).

    They are measured over the whole training set; the variance is that of what the latent model is trained on, so where
    q(z | x) is random its own variance is part of it: Var z = Var[mean] + E[deviation²]. No draws enter, so nothing
    depends on a first batch. `mean` and `variance` are those of u at each place, for densities.
    """

    shift: Tensor
    scale: Tensor
    mean: Tensor
    variance: Tensor
    measured: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        kept = (self.shape[0], *(1,) * (len(self.shape) - 1))
        self.register_buffer("shift", torch.zeros(kept))
        self.register_buffer("scale", torch.ones(kept))
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("variance", torch.ones(self.shape))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def measure(self, codes: Iterable[Code], keep_units: bool = False) -> None:
        """Measure on the codes of a training set, given in parts; with `keep_units` shift and scale stay 0 and 1."""
        count = 0
        total = torch.zeros(self.shape, dtype=torch.float64)
        squares, noise = torch.zeros_like(total), torch.zeros_like(total)
        for code in codes:
            z = code.mean.double().cpu()
            count += len(z)
            total += z.sum(0)
            squares += z.square().sum(0)
            if code.deviation is not None:
                noise += code.deviation.double().cpu().square().sum(0)
        mean = total / count
        second = (squares + noise) / count
        axes = tuple(range(1, len(self.shape)))
        shift = mean.mean(axes, keepdim=True) if axes else mean
        power = second.mean(axes, keepdim=True) if axes else second
        scale = (power - shift.square()).clamp(min=0).sqrt()
        scale = torch.where(scale > _LEAST, scale, 1.0)
        if keep_units:
            shift, scale = torch.zeros_like(shift), torch.ones_like(scale)
        self.shift.copy_(shift)
        self.scale.copy_(scale)
        self.mean.copy_((mean - shift) / scale)
        self.variance.copy_(((second - mean.square()).clamp(min=0) / scale.square()).clamp(min=_LEAST))
        self.measured.fill_(count)

    def standardised(self, z: Tensor) -> Tensor:
        """Latents of the first stage as the latent model sees them."""
        return (z - self.shift.to(z)) / self.scale.to(z)

    def restored(self, u: Tensor) -> Tensor:
        """The inverse."""
        return u * self.scale.to(u) + self.shift.to(u)

    def log_det(self) -> float:
        """log |du/dz|."""
        places = self.mean.numel() // self.scale.numel()
        return -places * float(self.scale.double().log().sum())
