"""T05: variational autoencoders of linear-Gaussian data, where all that they approximate has a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.models.vae import VAE
from pushforward.numerics.random import Draws
from pushforward.vae import (
    Diagonal,
    DiscretisedLikelihood,
    Elbo,
    FullCovariance,
    GaussianLikelihood,
    Importance,
    Joint,
    Posterior,
    SharedScale,
    iaf_posterior,
    log_mean,
)
from pushforward.vae.posteriors import raw_of
from pushforward.verification.check import Check, Finding
from pushforward.verification.linear_gaussian import LOADINGS, PCA, WORLD, Function, spread_of
from pushforward.verification.worlds import Given, double, hermite, largest


def expected_elbo(joint: Joint, count: int) -> Tensor:
    """E_q[log p(x | z)] − KL of each item, the expectation exact: three nodes in each of two dimensions."""
    z, weight = hermite(3, 2)
    many = Joint(
        joint.raw.repeat_interleave(9, 0),
        joint.posterior,
        joint.prior,
        lambda latents, k: (
            joint.log_likelihood(latents.view(-1, 9, 2).transpose(0, 1).reshape(-1, 2), 9).view(9, -1).T.reshape(-1)
        ),
    )
    return many.terms(Given(z.repeat(count, 1))).elbo.view(count, 9) @ weight


def tight(model: VAE | None = None) -> float:
    """With the exact posterior every importance weight is p(x)."""
    x = WORLD.items(50)
    joint = (model or WORLD.model(full=True)).joint(x)
    return largest(joint.log_weights(Draws.of(0, range(50)), range(5)) - WORLD.log_prob(x))


def mean_field(model: VAE | None = None) -> Finding:
    """log p(x) − ELBO with the best independent posterior; no independent one near it has less."""
    x = WORLD.items(20)
    joint = (model or WORLD.model(full=False)).joint(x)
    raw = joint.raw.clone().requires_grad_()
    free = Joint(raw, joint.posterior, joint.prior, joint.log_likelihood)
    gap = WORLD.log_prob(x) - expected_elbo(free, 20)
    slope = torch.autograd.grad(gap.sum(), raw)[0]
    shown = f"gap {float(gap.detach().mean()):.7f} nats, slope {largest(slope):.0e}"
    return Finding(largest(gap.detach() - WORLD.gap, WORLD.gap - 0.0017432, 1e-2 * largest(slope)), shown)


def decomposition(scale: float = 1.0) -> float:
    """−ELBO = −log p(x) + KL(q ‖ p(z | x)) for a posterior that is off in everything."""
    x, factor = WORLD.items(20), torch.tensor([[0.5, 0.0], [0.3, 0.8]], dtype=torch.float64)
    off = WORLD.posterior_mean + 0.1
    model = WORLD.encoded(FullCovariance(2), spread_of(factor), at=off)
    precision, q = torch.tensor(WORLD.precision), factor @ factor.T
    shift = x @ torch.tensor(off - WORLD.posterior_mean).T
    squares = torch.trace(precision @ q) + ((shift @ precision) * shift).sum(1) - 2
    kl = 0.5 * (squares - torch.logdet(q) - torch.logdet(precision))
    return largest(expected_elbo(model.joint(x), 20) - WORLD.log_prob(x) + scale * kl)


@cache
def _gaps(samples: int = 200, count: int = 1000) -> tuple[Tensor, float, float]:
    """log p(x) − log w (k, B) of an independent posterior half as wide again as the best; KL(q ‖ p) and ∫ p²/q."""
    x, precision = WORLD.items(count), WORLD.precision
    model = WORLD.encoded(Diagonal(2), raw_of(1.5 * torch.tensor(np.diag(precision)) ** -0.5))
    gaps = WORLD.log_prob(x) - model.joint(x).log_weights(Draws.of(0, range(count)), range(samples))
    kept = np.diag(np.diag(precision)) / 1.5**2
    spread = np.linalg.solve(kept, precision)
    kl = 0.5 * (np.trace(spread) - 2 - np.log(np.linalg.det(spread)))
    second = np.linalg.det(precision) / math.sqrt(np.linalg.det(kept) * np.linalg.det(2 * precision - kept))
    return gaps, float(kl), float(second)


def monotone(average: Callable[[Tensor], Tensor] = log_mean) -> Finding:
    """E[L_1] = log p − KL and E[L_200] ≈ log p − (∫ p²/q − 1)/400 in standard errors; L_1 < L_5 < L_50 < L_200."""
    every, kl, second = _gaps()
    gaps = [-average(-every[:k]) for k in (1, 5, 50, 200)]
    worst = largest(
        *(float((g.mean() - t) / (g.std() / len(g) ** 0.5)) for g, t in ((gaps[0], kl), (gaps[3], (second - 1) / 400)))
    )
    means = [float(g.mean()) for g in gaps]
    shown = "gaps " + ", ".join(f"{m:.4f}" for m in means)
    return Finding(worst if means == sorted(means, reverse=True) else math.inf, shown)


def _small() -> tuple[Tensor, Callable[[Tensor], Joint]]:
    """The numbers of an encoder that is off, and the model under any such numbers."""
    x = WORLD.items(4)
    joint = WORLD.encoded(Diagonal(2), double(-0.7, -0.4), at=WORLD.posterior_mean + 0.2).joint(x)
    return joint.raw, lambda raw: Joint(raw, joint.posterior, joint.prior, joint.log_likelihood)


def gradient_of_value(bound: Importance | None = None) -> float:
    """The gradient of the importance bound against differences of its value, on the same draws."""
    raw, under = _small()
    bound, draws = bound or Importance(5, doubly=False), Draws.of(0, range(4))
    free = raw.clone().requires_grad_()
    found = torch.autograd.grad(bound(under(free), draws, training=True).nats.sum(), free)[0]
    error, step = 0.0, 1e-5
    for i, j in ((0, 0), (1, 1), (2, 2), (3, 3)):
        shift = torch.zeros_like(raw)
        shift[i, j] = step
        up, down = (float(bound(under(raw + s), draws, training=True).nats.sum()) for s in (shift, -shift))
        error = largest(error, float(found[i, j]) - (up - down) / (2 * step))
    return error


def doubly(bound: Importance | None = None, copies: int = 4000) -> Finding:
    """Both estimators of the encoder's gradient have one mean, in standard errors; the doubled one has less noise."""
    many = _small()[0][:1].repeat(copies, 1)
    x = WORLD.items(1).repeat(copies, 1)
    model = WORLD.encoded(Diagonal(2), double(0.0, 0.0))

    def gradient(rule: Importance) -> Tensor:
        free = many.clone().requires_grad_()
        joint = model.joint(x)
        joint = Joint(free, joint.posterior, joint.prior, joint.log_likelihood)
        return torch.autograd.grad(rule(joint, Draws.of(0, range(copies)), training=True).nats.sum(), free)[0]

    plain, other = gradient(Importance(5, doubly=False)), gradient(bound or Importance(5, doubly=True))
    difference = plain - other
    worst = largest(difference.mean(0) / (difference.std(0) / copies**0.5))
    return Finding(worst if other.std() < plain.std() else math.inf, f"spread {plain.std():.2f} and {other.std():.2f}")


def discarded() -> Finding:
    """At σ² = the mean of the discarded eigenvalues, the leading ones in W, the bound of 500 items is stationary."""
    x = WORLD.items(500)
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    variance = float(values[:-2].mean())
    best = PCA(vectors[:, -2:] * np.sqrt(values[-2:] - variance), variance)

    def slope(variance: float) -> float:
        model = PCA(best.loadings, variance).model(full=True)
        w = torch.tensor(best.loadings, requires_grad=True)
        log_scale = torch.tensor(0.5 * math.log(variance), dtype=torch.float64, requires_grad=True)
        model.decoder = Function(lambda z: z @ w.T)
        spread = SharedScale(1.0).double()
        spread.log_scale = nn.Parameter(log_scale)
        model.likelihood = GaussianLikelihood(spread)
        value = expected_elbo(model.joint(x), 500).mean()
        return largest(*torch.autograd.grad(value, (w, spread.log_scale)))

    wrong = slope(1.1 * variance)
    return Finding(
        slope(variance) if wrong > 0.1 else math.inf, f"σ² {variance:.5f}; slope {wrong:.2f} at one a tenth larger"
    )


def integrates(posterior: Posterior | None = None) -> float:
    """A flow posterior's density over the plane, and log q of its samples against its density there."""
    if posterior is None:
        posterior = iaf_posterior(2, 2, (8,), 3).double()
        for i, p in enumerate(posterior.parameters()):
            p.data = 0.4 * Draws.of(i, [0], "weights").normal(p.shape, torch.float64)[0]
    raw = Draws.of(0, range(1), "raw").normal((posterior.outputs,), torch.float64)
    axis = torch.linspace(-15, 15, 301, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = float(posterior.pairwise(points, raw).exp().sum()) * float(axis[1] - axis[0]) ** 2
        z, log_q = posterior.sample(raw.repeat(50, 1), Draws.of(0, range(50)))
        return largest(mass - 1, posterior.log_prob(z, raw.repeat(50, 1)) - log_q)


def logistic_steps(bins: int = 17) -> float:
    """The probabilities of all steps add up to one, narrow, wide and outside of the range."""
    values = torch.linspace(-1, 1, bins, dtype=torch.float64)[:, None]
    error = 0.0
    for location, scale in ((0.0, 0.01), (0.93, 0.2), (-1.4, 0.05), (0.3, 3.0)):
        likelihood = DiscretisedLikelihood(SharedScale(scale).double(), bins=bins)
        log_p = likelihood.log_prob(values, torch.full_like(values, location))
        error = largest(error, float(log_p.detach().exp().sum()) - 1)
    return error


def summed(bound: Elbo | None = None) -> float:
    """The loss of one item is Σ over its coordinates plus KL, from the definitions: nothing is averaged."""
    x = WORLD.items(3)
    model = WORLD.model(full=False)
    noise = double(0.3, -1.2, 0.5, 0.9, -0.4, 0.1).reshape(3, 2)
    found = (bound or Elbo())(model.joint(x), Given(noise), training=True).nats
    sd = np.diag(WORLD.precision) ** -0.5
    mean = x.numpy() @ WORLD.posterior_mean.T
    rest = x.numpy() - (mean + sd * noise.numpy()) @ LOADINGS.T
    nats = 0.5 * (rest**2 / WORLD.variance + math.log(2 * math.pi * WORLD.variance)).sum(1)
    kl = 0.5 * (mean**2 + sd**2 - 1).sum(1) - np.log(sd).sum()
    return largest(found - torch.from_numpy(nats + kl))


CHECKS = (
    Check(
        "probabilistic PCA: the bound of the exact posterior is tight",
        "T05",
        "every log w against log p(x)",
        1e-9,
        tight,
    ),
    Check(
        "probabilistic PCA: gap of the best independent posterior",
        "T05",
        "exact expectation against ½(Σ log Λ_ii − log |Λ|) = 0.0017432; its slope is 0",
        1e-7,
        mean_field,
    ),
    Check(
        "−ELBO = −log p(x) + KL(q ‖ p(z|x))",
        "T05",
        "a posterior that is off, against KL in closed form",
        1e-9,
        decomposition,
    ),
    Check("a loss is a sum over coordinates", "T05", "against its definition, spelt out", 1e-9, summed),
    Check(
        "the importance-weighted bound rises to log p(x)",
        "T05",
        "1,000 items, k = 1 and 200 against closed forms, in standard errors; rising",
        4.0,
        monotone,
    ),
    Check(
        "gradient of the importance-weighted bound",
        "T05",
        "autograd against differences of the value on the same draws",
        1e-6,
        gradient_of_value,
    ),
    Check(
        "doubly reparametrised gradient",
        "T05",
        "4,000 gradients against the plain one, in standard errors; less noise",
        4.0,
        doubly,
    ),
    Check(
        "linear VAE: σ² is the mean of the discarded eigenvalues",
        "T05",
        "slope of the bound of 500 items at the eigenvalues' solution",
        1e-9,
        discarded,
    ),
    Check(
        "a flow posterior is a density", "T05", "integral over the plane; samples against densities", 1e-4, integrates
    ),
    Check(
        "steps of a discretised logistic sum to one",
        "T05",
        "17 probabilities, four locations and scales",
        1e-9,
        partial(logistic_steps, 17),
    ),
)
