"""The linear-Gaussian world of T05: all that an autoencoder approximates has a closed form, by NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.models.vae import VAE
from pushforward.numerics.random import Draws
from pushforward.vae import Diagonal, FullCovariance, GaussianLikelihood, Posterior, SharedScale
from pushforward.vae.posteriors import raw_of

# Six coordinates by two factors: torch's normals with seed 0.
LOADINGS = np.array(
    [
        (1.5409960746765137, -0.293428897857666),
        (-2.1787893772125244, 0.5684312582015991),
        (-1.0845223665237427, -1.3985954523086548),
        (0.40334683656692505, 0.8380263447761536),
        (-0.7192575931549072, -0.40334352850914),
        (-0.5966353416442871, 0.18203648924827576),
    ]
)


class Function(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True, eq=False)
class PCA:
    """x = W z + s ε with z, ε standard normal (Tipping & Bishop 1999): p(z | x) = N(Λ⁻¹Wᵀx/s², Λ⁻¹), Λ = 1 + WᵀW/s²."""

    loadings: np.ndarray
    variance: float

    @property
    def precision(self) -> np.ndarray:
        return np.eye(self.loadings.shape[1]) + self.loadings.T @ self.loadings / self.variance

    @property
    def covariance(self) -> np.ndarray:
        return self.loadings @ self.loadings.T + self.variance * np.eye(len(self.loadings))

    @property
    def entropy(self) -> float:
        return 0.5 * float(np.linalg.slogdet(2 * math.pi * math.e * self.covariance)[1])

    @property
    def gap(self) -> float:
        """The least KL(q ‖ p(z | x)) of independent q: ½(Σ log Λ_ii − log |Λ|)."""
        return 0.5 * float(np.log(np.diag(self.precision)).sum() - np.linalg.slogdet(self.precision)[1])

    @property
    def posterior_mean(self) -> np.ndarray:
        """The matrix that takes x to E[z | x]."""
        return np.linalg.solve(self.precision, self.loadings.T) / self.variance

    def items(self, count: int) -> Tensor:
        draws = Draws.of(0, range(count), "items")
        factors, noise = (draws.at(part).normal((size,), torch.float64) for part, size in (("z", 2), ("e", 6)))
        return factors @ torch.tensor(self.loadings.T) + math.sqrt(self.variance) * noise

    def log_prob(self, x: Tensor) -> Tensor:
        squares = np.einsum("bi,ij,bj->b", x.numpy(), np.linalg.inv(self.covariance), x.numpy())
        return torch.from_numpy(-0.5 * squares) - self.entropy + 0.5 * len(self.loadings)

    def model(self, *, full: bool) -> VAE:
        """Itself as a VAE, with its exact posterior (`full`) or with the best independent one."""
        covariance = torch.tensor(np.linalg.inv(self.precision))
        if full:
            return self.encoded(FullCovariance(2), spread_of(torch.linalg.cholesky(covariance)))
        return self.encoded(Diagonal(2), raw_of(torch.tensor(np.diag(self.precision)) ** -0.5))

    def encoded(self, posterior: Posterior, spread: Tensor, *, at: np.ndarray | None = None) -> VAE:
        """Itself as a VAE whose posterior has the mean `at` x (E[z | x] if left out) and this spread."""
        mean = torch.tensor(self.posterior_mean if at is None else at)
        w, scale = torch.tensor(self.loadings), SharedScale(1.0, learned=False).double()
        scale.log_scale.fill_(0.5 * math.log(self.variance))
        encoder = Function(lambda x: torch.cat((x @ mean.T, spread.expand(len(x), -1)), 1))
        return VAE(encoder, Function(lambda z: z @ w.T), posterior, GaussianLikelihood(scale), (6,)).eval()


WORLD = PCA(LOADINGS, 0.3)


def spread_of(factor: Tensor) -> Tensor:
    """What a full-covariance posterior reads as LLᵀ."""
    return FullCovariance(2).numbers(torch.zeros(1, 2, dtype=torch.float64), factor)[0, 2:]
