"""∇_m log ∫ p(y | x) N(x; m, r²) dx: how a measurement pulls at a mean of which the variance r² is assumed."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood, normal_like
from pushforward.inverse.operators.operator import LinearOperator, Shape, told
from pushforward.inverse.solve import noise_like, squares
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws


def is_linear(likelihood: Likelihood) -> bool:
    """Whether it is Gaussian noise on a linear operator, so that all is in closed form."""
    return isinstance(likelihood, Gaussian) and isinstance(likelihood.operator, LinearOperator)


def as_gaussian(likelihood: Likelihood, rule: str) -> Gaussian:
    """The likelihood with white Gaussian noise. Raises UserError where its noise is of another law."""
    if not isinstance(likelihood, Gaussian):
        raise UserError(
            f"{rule} is for Gaussian noise, and this likelihood is {type(likelihood).__name__}: Proximal() takes any"
        )
    return likelihood.whitened() if likelihood.covariance is not None else likelihood


def as_linear(likelihood: Likelihood, rule: str) -> Gaussian:
    """As `as_gaussian`, of a linear operator. Raises UserError where it is not linear."""
    gaussian = as_gaussian(likelihood, rule)
    if not is_linear(gaussian):
        raise UserError(
            f"{rule} needs a linear operator, and {told(gaussian.operator)} is not linear: PiGDM() and "
            "Proximal() take any"
        )
    return gaussian


def mean_square(operator: LinearOperator, like: Tensor, measured: Tensor) -> Tensor:
    """tr(A A*) per measured number, (1 or B,), for items like `like`; from four counted probes of ±1."""
    size = tuple(like.shape[1:])
    kept: dict[Shape, Tensor] = operator.__dict__.setdefault("_mean_squares", {})
    if size not in kept:
        zeros = operator.zeros(size)
        # The same for all items, so that none depends on its place in the batch.
        probes = [noise_like(zeros[:1], "mean square", i).sgn().expand_as(zeros) for i in range(4)]
        kept[size] = torch.stack([squares(operator(probe)) for probe in probes]).mean(0)
    return kept[size].to(measured) / measured


def size_of(operator: LinearOperator, like: Tensor) -> float:
    """‖A‖ for items like `like`."""
    return operator.norm(tuple(like.shape[1:]))


def linear_gain(likelihood: Gaussian, mean: Tensor, variance: Scalar) -> Tensor:
    """A*(r² A A* + σ²)⁻¹(y − A m): exact. With σ = 0 and inconsistent y, the fit is least squares."""
    sigma = likelihood.sigma
    return likelihood.linear.gain(likelihood.residual(mean), variance, sigma**2)


def pseudo_inverse_gain(likelihood: Gaussian, mean: Tensor, variance: Scalar, spread: Scalar) -> Tensor:
    """(h†(y) − h†(h(m)))/(r² + τ²): the published rule for maps without a useful derivative (τ = 0 without noise)."""
    operator = likelihood.operator
    predicted = operator(mean)
    away = operator.pseudo_inverse(likelihood.given(predicted), mean) - operator.pseudo_inverse(predicted, mean)
    return away / expand(variance + spread, away)


def inverse_noise(likelihood: Gaussian) -> Scalar:
    """τ²: the variance of h†(y + σ n) per measured number, from one counted n; σ²/s² for equal singular values s."""
    if not bool((torch.as_tensor(likelihood.sigma) > 0).any()):
        return 0.0
    kept: dict[str, Tensor] = likelihood.__dict__.setdefault("_kept", {})
    if "inverse noise" not in kept:
        y, operator = likelihood.y, likelihood.operator
        sigma = torch.as_tensor(likelihood.sigma, device=y.device)
        y = y.expand(max(len(y), operator.items or 1, len(sigma) if sigma.ndim else 1), *y.shape[1:])
        # The same for all items, so that none depends on its place in the batch.
        noise = normal_like(y[:1], Draws.of(0, [0], "inverse noise", y.device)).expand_as(y)
        plain = operator.pseudo_inverse(y)
        away = operator.pseudo_inverse(y + expand(sigma, y) * operator.measured(noise), plain) - plain
        kept["inverse noise"] = squares(away) / likelihood.count().to(away.device)
    return kept["inverse noise"]
