"""T01 to T03: Jacobians, change of variables, and flows, whose densities have to be those of their samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import expm
from scipy.stats import lognorm
from torch import Tensor, nn

from pushforward.flows import (
    LU,
    ActNorm,
    Affine,
    Bijection,
    Cayley,
    Chain,
    Dense,
    Exponential,
    Flow,
    Inverse,
    Ode,
    Planar,
    Radial,
    Shift,
    Simplex,
    Spline,
    StandardGaussian,
    Sylvester,
)
from pushforward.flows.builders import autoregressive, couplings
from pushforward.flows.neural_ode import runge_kutta, traced
from pushforward.numerics.random import Draws
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import double, largest

D = 3
X = Draws.of(0, range(6), "flows").normal((D,), torch.float64)


def stirred(module: nn.Module, size: float = 0.4) -> nn.Module:
    """In float64, with every parameter moved from where it starts, the same in every run."""
    module.double()
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(size * Draws.of(i, [0], "parameters").normal(p.shape, torch.float64)[0])
    return module


def layers() -> dict[str, Bijection]:
    """One of each kind, of three features."""
    plain = {
        "additive coupling": couplings(D, Shift(), 2, (8,)),
        "affine coupling": couplings(D, Affine(), 2, (8,)),
        "spline coupling": couplings(D, Spline(), 2, (8,)),
        "masked autoregressive": autoregressive(D, Affine(), 2, (8,)),
        "inverse autoregressive": Inverse(autoregressive(D, Affine(), 2, (8,))),
        "autoregressive spline": autoregressive(D, Spline(), 2, (8,)),
        "LU": LU(D),
        "rotation": Cayley(D),
        "actnorm": ActNorm(D),
        "planar": Planar(D),
        "radial": Radial(D),
        "Sylvester": Sylvester(D),
    }
    for module in plain.values():
        stirred(module)
    return {**plain, "exponential": Exponential()}


def jacobians(made: Callable[[], dict[str, Bijection]] = layers) -> Finding:
    """log |det ∂y/∂x| as each kind of layer gives it, against the whole Jacobian by automatic differentiation."""
    worst, where = 0.0, ""
    for name, layer in made().items():
        whole = [torch.autograd.functional.jacobian(lambda v, f=layer: f.forward(v[None])[0][0], x) for x in X]
        error = largest((layer.forward(X)[1] - torch.linalg.slogdet(torch.stack(whole))[1]).detach())
        worst, where = max((worst, where), (error, name))
    return Finding(worst, f"largest: {where}")


def inverses(made: Callable[[], dict[str, Bijection]] = layers) -> float:
    """x(y(x)) = x, and the two log-determinants cancel."""
    errors = []
    for layer in made().values():
        y, log_det = layer.forward(X)
        back, log_det_back = layer.inverse(y)
        errors.append(largest((back - X).detach(), (log_det + log_det_back).detach()))
    return max(errors)


def linear_volume(make: Callable[[Tensor], Bijection] = Dense) -> float:
    """log |det| of a matrix against NumPy's, and of its inverse: det W⁻¹ = 1/det W."""
    weight = Draws.of(3, range(D), "matrix").normal((D,), torch.float64)
    layer = make(weight)
    truth = float(np.linalg.slogdet(weight.numpy())[1])
    return largest((layer.forward(X)[1] - truth).detach(), (layer.inverse(X)[1] + truth).detach())


def log_normal(flow: Flow | None = None) -> float:
    """x = e^z of a normal z has the log-normal density."""
    x = double(0.05, 0.5, 1.0, 3.0, 20.0)[:, None]
    flow = flow or Flow(StandardGaussian((1,)), Inverse(Exponential()))
    return largest(flow.log_prob(x).numpy() - lognorm.logpdf(x[:, 0].numpy(), 1.0))


def simplex() -> Finding:
    """A density on the triangle, by stick breaking from the plane, integrates to 1 over it."""
    flow = Flow(StandardGaussian((2,)), Inverse(Simplex()))
    side, n = torch.arange(0.5, 400, dtype=torch.float64) / 400, 400
    grid = torch.cartesian_prod(side, side)
    grid = grid[grid.sum(1) < 1 - 0.5 / n]
    total = float(flow.log_prob(torch.cat((grid, 1 - grid.sum(1, keepdim=True)), 1)).exp().sum()) / n**2
    return Finding(total - 1, f"{total:.4f}")


def spline_flow(d: int) -> Flow:
    flow = Flow(StandardGaussian((d,)), couplings(d, Spline(bound=3.0), 2, (8,)))
    stirred(flow, 0.3)
    return flow


def plane_integral(flow: Flow | None = None) -> Finding:
    """∫ p over the plane of a flow with arbitrary parameters."""
    side = torch.linspace(-7, 7, 281, dtype=torch.float64)
    with torch.no_grad():
        density = (flow or spline_flow(2)).log_prob(torch.cartesian_prod(side, side)).exp()
    total = float(density.sum()) * float(side[1] - side[0]) ** 2
    return Finding(total - 1, f"{total:.6f}")


def line_quantiles(flow: Flow | None = None) -> float:
    """Mass is carried, not made: the integral of p up to x is Φ(y(x))."""
    flow = flow or spline_flow(1)
    x = torch.linspace(-8, 8, 20_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        mass = torch.cumulative_trapezoid(flow.log_prob(x).exp(), x[:, 0])
        latent = flow.bijection.forward(x)[0][1:, 0]
    return largest(mass - torch.special.ndtr(latent))


def samples_and_density(flow: Flow | None = None) -> float:
    """−log p(x) = −log π(z) + Σ log |det ∂f_i/∂z|, on the way of sampling, against log p of what was sampled."""
    chain = Chain(couplings(D, Spline(), 2, (8,)), LU(D), autoregressive(D, Affine(), 2, (8,)))
    if flow is None:
        flow = Flow(StandardGaussian((D,)), chain)
        stirred(flow)
    with torch.no_grad():
        x, log_prob = flow.sample_and_log_prob(Draws.of(1, range(50)))
        return largest(flow.log_prob(x) - log_prob)


class Turning(nn.Module):
    """dx/dt = A x."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(0.7 * Draws.of(5, range(D), "matrix").normal((D,), torch.float64))

    def forward(self, t: float, x: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.sin(x @ self.matrix.T) if self.training else x @ self.matrix.T


def linear_ode(steps: int = 40) -> float:
    """The flow of dx/dt = A x is e^A with log det = tr A (Chen et al. 2018)."""
    velocity = Turning().eval()
    y, log_det = Ode(velocity, steps)(X)
    matrix = velocity.matrix.detach().numpy()
    return largest(y.detach().numpy() - X.numpy() @ expm(matrix).T, log_det.detach().numpy() - np.trace(matrix))


def adjoint(layer: Ode | None = None) -> float:
    """Gradients through the steps of a bent ODE, from stored states, against one graph through all of them."""
    layer = layer or Ode(Turning(), 4)
    found = layer(X)
    x, log_det = X, X.new_zeros(len(X))
    for i in range(4):

        def rate(t: float, state: Tensor) -> tuple[Tensor, Tensor]:
            return traced(lambda v: layer.velocity(t, v), state, None)

        x, moved = runge_kutta(rate, layer.tableau, x, i / 4, (i + 1) / 4)
        log_det = log_det + moved
    parameters = list(layer.parameters())
    one, other = (torch.autograd.grad(a.square().sum() + 3 * b.sum(), parameters)[0] for a, b in (found, (x, log_det)))
    return largest(one - other)


def entropy(evaluations: int = 30) -> Finding:
    """Maximum likelihood of a linear flow on Gaussian data: the loss ends at ½ log det 2πe Σ of the sample."""
    mixing = double(2, 0, 0, 1, 0.5, 0, -1, 0.3, 1).reshape(D, D)
    x = Draws.of(7, range(300), "data").normal((D,), torch.float64) @ mixing.T
    flow = Flow(StandardGaussian((D,)), LU(D)).double()
    optimiser = torch.optim.LBFGS(flow.parameters(), max_iter=100, max_eval=evaluations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -flow.log_prob(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    floor = 0.5 * float(np.linalg.slogdet(2 * math.pi * math.e * np.cov(x.numpy().T, bias=True))[1])
    reached = float(-flow.log_prob(x).mean().detach())
    return Finding(reached - floor, f"{reached:.4f} nats")


CHECKS = (
    Check("log-determinants of all layers", "T01", "against the whole Jacobian, 13 kinds of layers", 1e-9, jacobians),
    Check("inverses of all layers", "T01", "round trips, and log-determinants that cancel", 1e-9, inverses),
    Check("the volume of a matrix", "T01", "against NumPy's determinant, both ways", 1e-10, linear_volume),
    Check("the log-normal density", "T02", "change of variables against SciPy's, x from 0.05 to 20", 1e-10, log_normal),
    Check("a density on the simplex", "T02", "stick breaking; sum over a grid of the triangle", 5e-3, simplex),
    Check("a flow's density integrates to 1", "T02", "spline couplings, sum over the plane", 1e-3, plane_integral),
    Check("mass is carried", "T02", "the integral of p up to x against Φ(y(x))", 1e-5, line_quantiles),
    Check("samples carry their density", "T03", "on the way of sampling and of scoring", 1e-9, samples_and_density),
    Check("maximum likelihood of a linear flow", "T03", "against the entropy of a Gaussian, nats", 1e-6, entropy),
    Check("the flow of a linear ODE", "T03", "against the matrix exponential and the trace", 1e-6, linear_ode),
    Check("gradients of a neural ODE", "T03", "the adjoint against plain differentiation", 1e-10, adjoint),
)
