"""A noise level that is not known: σ given x and y is inverse-gamma, and is drawn with x."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv, polygamma
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.solve import squares
from pushforward.numerics.random import Draws


@dataclass(frozen=True)
class UnknownNoise:
    """σ² ~ inverse-gamma(shape, scale); the defaults say that only the order of magnitude `guess` is believed.

    With `shape` = 0 and `scale` = 0 the law is 1/σ², improper, and every σ is as likely as its double: right where much
    is measured of items that the prior knows well; where fewer numbers were measured than items have, σ → 0 has then no
    end. Given x, σ² is inverse-gamma(shape + m/2, scale + ‖y − h(x)‖²/2). Below `least` no σ is drawn.
    """

    shape: float = 0.0
    scale: float = 0.0
    least: float = 1e-6

    def __post_init__(self) -> None:
        if not (self.shape >= 0 and self.scale >= 0 and self.least > 0):
            raise UserError(
                f"the law of an unknown noise needs shape and scale of at least 0; got {self.shape} and {self.scale}"
            )

    @staticmethod
    def around(guess: float, doublings: float = 1.0) -> UnknownNoise:
        """A law with the mode of log σ at `guess` and this many doublings as the deviation of log₂ σ, 0.01 to 5."""
        if not (guess > 0 and 0.01 <= doublings <= 5):
            raise UserError(
                f"a guess of the noise is above 0, and its width between 0.01 and 5 doublings; got {guess} and "
                f"{doublings}"
            )
        variance = (2 * math.log(2) * doublings) ** 2  # of log σ², which is trigamma(shape)
        shape = float(brentq(lambda a: float(polygamma(1, a)) - variance, 1e-3, 1e5))
        return UnknownNoise(shape, shape * guess**2)

    def above(self, least: float) -> UnknownNoise:
        """The same law, cut below `least`."""
        return replace(self, least=max(self.least, least))

    def draw(self, likelihood: Likelihood, x: Tensor, draws: Draws) -> Tensor:
        """σ given x (B, …): (B,), float64."""
        gaussian = with_noise(likelihood)
        residual = gaussian.residual(x)
        shape = self.shape + 0.5 * gaussian.count().to(residual.device)
        scale = self.scale + 0.5 * squares(residual).double()
        u = draws.at("noise level").uniform((), torch.float64).cpu().numpy()
        shapes, rate = shape.expand(len(x)).cpu().numpy(), scale.cpu().numpy()
        # The gamma variable is rate/σ²: σ above `least` is the variable below rate/least².
        gamma = torch.from_numpy(_gamma_below(shapes, rate / self.least**2, u))
        return (scale / gamma.to(scale.device).clamp(min=1e-300)).sqrt().clamp(min=self.least)

    def sample(self, draws: Draws) -> Tensor:
        """σ from the law itself: (B,). Raises UserError where it is improper."""
        if not (self.shape > 0 and self.scale > 0):
            raise UserError("a noise law with shape 0 or scale 0 cannot be drawn from")
        u = draws.at("noise level").uniform((), torch.float64).cpu().numpy()
        shapes, most = np.full_like(u, self.shape), np.full_like(u, self.scale / self.least**2)
        return torch.from_numpy((self.scale / _gamma_below(shapes, most, u)) ** 0.5).to(draws.base.device)


def _gamma_below(shape: np.ndarray, most: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The gamma variable of this shape, given that it is below `most`, at the share u of its law: all (B,)."""
    share = u * gammainc(shape, most)
    # So far out that the probability underflows, the density of its logarithm rises as e^{(shape − most) log g}.
    thin = share < 1e-280
    steep = np.where(thin & (shape > most), shape - most, 1)
    return np.asarray(np.where(thin, most * u ** (1 / steep), gammaincinv(shape, share)))


def with_noise(likelihood: Likelihood, sigma: Tensor | None = None) -> Gaussian:
    """The Gaussian likelihood, with another σ if one is given. Raises UserError where noise has no such level."""
    if not isinstance(likelihood, Gaussian):
        raise UserError(
            f"a noise level can be unknown where noise is Gaussian, and this is {type(likelihood).__name__}"
        )
    white = likelihood.whitened() if likelihood.covariance is not None else likelihood
    return white if sigma is None else replace(white, sigma=sigma)
