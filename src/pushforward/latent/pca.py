"""Principal components as a first stage: the linear autoencoder in closed form (Tipping & Bishop 1999)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.latent.stage import Code


class PCA(nn.Module):
    """z = Uᵀ(x − m) on the k directions of largest variance; decoded as m + U z.

    What is lost is taken as N(0, s² I) on the other directions, s² the mean of the variances there (Tipping & Bishop),
    so that a density of z gives one of x: log p(x) = log p(z) + log N(x − m − U z; 0, s² I) with no bound between.

    Args:
        shape: of one item.
        components: k.
    """

    mean: Tensor
    basis: Tensor
    rest: Tensor
    exact, discrete = True, False

    def __init__(self, shape: Sequence[int], components: int) -> None:
        super().__init__()
        self.shape, self.dim = tuple(shape), math.prod(shape)
        if not 1 <= components <= self.dim:
            raise UserError(
                f"items of {self.dim} numbers have 1 to {self.dim} principal components; {components} were asked for"
            )
        self.latent_shape: tuple[int, ...] = (components,)
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("basis", torch.zeros(self.dim, components))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Fit to items (N, *shape), N > k."""
        k = self.latent_shape[0]
        if len(x) <= k:
            raise UserError(f"{k} principal components need more than {k} items; there are {len(x)}")
        flat = x.detach().double().flatten(1)
        mean = flat.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(flat.T).reshape(self.dim, self.dim))
        self.mean.copy_(mean)
        self.basis.copy_(axes[:, -k:].flip(1))
        if k < self.dim:  # constant directions have no width of their own
            self.rest.copy_(variances[:-k].clamp(min=0).mean().clamp(min=1e-12))

    def code(self, x: Tensor) -> Code:
        flat = x.flatten(1)
        return Code((flat - self.mean.to(flat)) @ self.basis.to(flat))

    def decode(self, z: Tensor) -> Tensor:
        return (self.mean.to(z) + z @ self.basis.to(z).T).reshape(len(z), *self.shape)

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log of the density of the directions that z leaves out, D − k of them: (B,)."""
        left = self.dim - self.latent_shape[0]
        square = (x - self.decode(z)).double().flatten(1).square().sum(1)
        rest = self.rest.double().to(x.device)
        return -0.5 * (square / rest + left * torch.log(2 * math.pi * rest)) if left else torch.zeros_like(square)
