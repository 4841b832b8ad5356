"""T01, T02, T16: Jacobians, change of variables, and the exact likelihood of the probability flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.denoisers.transport import transport
from pushforward.flows import AdaptiveFlow
from pushforward.models.likelihood import ProbabilityFlow, spherical
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.divergence import EXACT, Divergence, Hutchinson, divergence
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VP, GaussianPath
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import BIMODAL, double, largest, line_mixture

MEANS = double(-0.7, 0.1, 0.5, 0.8, 0.4, -0.6).reshape(3, 2)
COVARIANCES = double(0.04, 0.01, 0.01, 0.02, 0.09, -0.03, -0.03, 0.05, 0.03, 0.0, 0.0, 0.06).reshape(3, 2, 2)
SIGMA = EDM()
WEIGHTS = double(0.5, 0.2, 0.3)
PLANE = Mixture.of_covariances(WEIGHTS, MEANS, COVARIANCES)
POINTS = double(-0.8, 0.0, 0.3, 0.9, 0.5, -0.4, 0.0, 0.2, -0.4, 0.3).reshape(5, 2)


def density(x: Tensor) -> Tensor:
    """log p of the mixture in the plane, by NumPy's linear algebra."""
    logs = []
    for weight, mean, covariance in zip(WEIGHTS.tolist(), MEANS.numpy(), COVARIANCES.numpy(), strict=True):
        centred = x.numpy() - mean
        square = np.einsum("bi,ij,bj->b", centred, np.linalg.inv(covariance), centred)
        logs.append(math.log(weight) - 0.5 * square - 0.5 * math.log((2 * math.pi) ** 2 * np.linalg.det(covariance)))
    return torch.from_numpy(np.logaddexp.reduce(np.stack(logs), 0))


def flow_of(mixture: Mixture, path: GaussianPath, adaptive: bool = False) -> ProbabilityFlow:
    """Its exact denoiser as a density, by the default solver of 100 evaluations or the adaptive one."""
    moments = Moments.of(mixture.mean(), mixture.covariance())
    denoiser = MixtureDenoiser(mixture, path)
    return ProbabilityFlow(denoiser, moments, AdaptiveFlow()) if adaptive else ProbabilityFlow(denoiser, moments)


def log_prob(path: GaussianPath, adaptive: bool = False, mixture: Mixture = PLANE) -> Finding:
    """log p through the flow against the exact density, in nats."""
    found = flow_of(mixture, path, adaptive).log_prob(POINTS)
    return Finding(largest(found.nats - density(POINTS)), f"{int(found.evaluations.max())} evaluations")


def integrates(path: GaussianPath = SIGMA) -> Finding:
    """∫ p(x) dx of the pushed-forward density on the line, by the trapezoidal rule."""
    mixture = line_mixture(BIMODAL)
    grid = torch.linspace(-4, 4, 401, dtype=torch.float64)[:, None]
    total = float(torch.trapezoid(flow_of(mixture, path).log_prob(grid).nats.exp(), grid[:, 0]))
    return Finding(total - 1, f"{total:.6f}")


FINE = Adams(399, order=3, times=Bunched(-0.3))


def jacobian(rule: Divergence = EXACT) -> float:
    """log |det ∂y/∂x| of the flow against that of the whole Jacobian, by central differences of the map."""
    move = transport(MixtureDenoiser(PLANE, EDM()), FINE, divergence=rule, sigma_data=0.6)
    h, columns = 1e-5, []
    for i in range(2):
        shift = h * torch.eye(2, dtype=torch.float64)[i]
        columns.append((move.push(POINTS + shift) - move.push(POINTS - shift)) / (2 * h))
    return largest(move.forward(POINTS)[1] - torch.linalg.slogdet(torch.stack(columns, 2))[1])


def round_trip() -> float:
    """decode(encode(x)) = x."""
    flow = flow_of(PLANE, EDM(), adaptive=True)
    return largest(flow.decode(flow.encode(POINTS)) - POINTS)


def quantiles(path: GaussianPath = SIGMA) -> float:
    """The latent of a point on the line has its quantile: Φ(z) = F(x)."""
    mixture = line_mixture(BIMODAL)
    x = torch.linspace(-1.5, 1.5, 9, dtype=torch.float64)[:, None]
    flow = flow_of(mixture, path, adaptive=True)
    latent = flow.encode(x)[:, 0]
    cdf = [BIMODAL.cdf(float(v), CLEAN) for v in x]
    return largest(torch.special.ndtr(latent) - double(*cdf))


def alone_or_together() -> float:
    """A sample's log p does not depend on its batch, adaptive steps included."""
    flow = flow_of(PLANE, VP(t_min=1e-5), adaptive=True)
    together = flow.log_prob(POINTS).nats
    return largest(*(flow.log_prob(POINTS[i : i + 1]).nats - together[i : i + 1] for i in range(len(POINTS))))


def probes(rule: Callable[[Draws], Divergence] = lambda draws: Hutchinson(draws, 64)) -> Finding:
    """Hutchinson's estimate of log p against the exact one, in the standard errors that it reports."""
    flow = flow_of(PLANE, EDM())
    found = flow.log_prob(POINTS, rule(Draws.of(0, range(len(POINTS)), "probes")))
    z = (found.nats - density(POINTS)) / found.standard_error
    return Finding(largest(z), f"standard errors {found.standard_error.mean():.3f} nats")


def divergences() -> float:
    """The divergence of a non-linear field against automatic differentiation of its whole Jacobian."""
    weight = Draws.of(0, range(6), "field").normal((6,), torch.float64)

    def field(x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ weight).reshape(x.shape) * x

    x = Draws.of(0, range(4), "x").normal((2, 3), torch.float64)
    whole = [torch.autograd.functional.jacobian(lambda v: field(v[None])[0], one).reshape(6, 6) for one in x]
    return largest(divergence(field, x)[1] - torch.stack([torch.trace(part) for part in whole]))


def interpolation() -> float:
    """Points on the arc between latents keep the norm of two of equal norm, and end where they should."""
    a, b = double(1, 2, 2)[None], double(-2, 1, 2)[None]
    path = torch.cat([spherical(a, b, w) for w in (0.0, 0.25, 0.5, 1.0)])
    return largest(path.norm(dim=1) - 3, path[0] - a, path[3] - b)


def bits(copies: int = 256) -> Finding:
    """Bits of dequantised integers against −E_u log₂ p(v + u) − log₂ width over their cells, in standard errors."""
    mixture, width = line_mixture(BIMODAL), 2 / 15
    values = torch.arange(16, dtype=torch.float64)[:, None] * width - 1
    repeated = values.repeat(copies, 1)
    draws = Draws.of(0, range(len(repeated)), "bits")
    found = flow_of(mixture, EDM()).bits_per_dim(repeated, width, draws).bits.reshape(copies, 16)
    cell = torch.linspace(-0.5, 0.5, 2001, dtype=torch.float64) * width
    logs = double(*(float(np.log(BIMODAL.density((v + cell).numpy())).mean()) for v in values))
    exact = -logs / math.log(2) - math.log2(width)
    error = torch.hypot(found.std(0) / math.sqrt(copies), double(1e-4))  # the solver's own beside the draws'
    z = (found.mean(0) - exact) / error
    return Finding(largest(z), f"16 values, {copies} dequantisations each")


CHECKS = (
    Check("divergence of a field", "T01", "exact rule against the trace of the automatic Jacobian", 1e-10, divergences),
    Check(
        "log-determinant of the flow",
        "T01",
        "∫ tr ∂v/∂x dt against the determinant of the map's differences",
        1e-4,
        jacobian,
    ),
    Check(
        "a pushed-forward density integrates to 1",
        "T02",
        "trapezoidal rule over exp log p on the line",
        1e-3,
        integrates,
    ),
    Check(
        "log p through the probability flow, EDM",
        "T16",
        "100 evaluations against the mixture's density, nats",
        1e-3,
        partial(log_prob, EDM()),
    ),
    Check(
        "log p through the probability flow, VP",
        "T16",
        "100 evaluations against the mixture's density, nats",
        1e-3,
        partial(log_prob, VP(t_min=1e-5)),
    ),
    Check(
        "log p through the probability flow, adaptive",
        "T16",
        "against the mixture's density, nats",
        1e-3,
        partial(log_prob, EDM(), adaptive=True),
    ),
    Check(
        "log p with random probes", "T16", "64 Hutchinson probes against the density, in standard errors", 4.0, probes
    ),
    Check(
        "a sample alone or in a batch", "T16", "log p of five points together and one by one", 1e-5, alone_or_together
    ),
    Check("decode(encode(x)) = x", "T16", "through the noise and back, adaptive steps", 1e-3, round_trip),
    Check(
        "latents have the quantiles of the data", "T16", "Φ(z) against F(x) of a mixture on the line", 1e-4, quantiles
    ),
    Check("interpolation on the sphere", "T16", "norms along the arc, and its ends", 1e-12, interpolation),
    Check(
        "bits per dimension of integers",
        "T16",
        "uniform dequantisation against quadrature over each cell, in standard errors",
        4.5,
        bits,
    ),
)
