"""Noise splitting against closed forms: the law of z, both roots of its covariance, and what it leaves invariant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    Blur,
    Clip,
    Covariance,
    Fourier,
    Gaussian,
    Mask,
    Matrix,
    RealAsComplex,
    compose,
    condition,
    gaussian_kernel,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, Straight
from pushforward.posterior.chebyshev import root_of_rest
from pushforward.posterior.gibbs import SplitGibbs
from pushforward.posterior.noise_level import UnknownNoise
from pushforward.posterior.reverse import Reverse
from pushforward.posterior.splitting import Splitting

F64 = torch.float64
SHAPE = (1, 2, 3)


def mixture() -> Mixture:
    draws = Draws.of(0, range(3), "mixture")
    roots = draws.at("root").normal((6, 6), F64) / 3
    eye = 0.02 * torch.eye(6, dtype=F64)
    return Mixture.of_covariances(
        torch.tensor([0.2, 0.3, 0.5], dtype=F64), draws.normal((6,), F64), roots @ roots.mT + eye
    )


WIDE = Matrix(Draws.of(1, [0]).normal((4, 6), F64)[0], SHAPE)
OPERATORS = {
    "mask": Mask(torch.tensor([[1, 0, 1], [0, 1, 1]])),
    "matrix": WIDE,
    "complex": Fourier() @ RealAsComplex(),
    "each": Matrix(Draws.of(2, range(4)).normal((3, 6), F64), SHAPE),
}


def seen(operator, sigma=0.2, rows: int = 4) -> Gaussian:
    draws = Draws.of(3, range(rows), "seen")
    return Gaussian.measure(operator, mixture().sample(draws).reshape(-1, *SHAPE), sigma, draws)


class _Blind:
    """An operator without a singular system."""


def blind(operator):
    return type("Blind", (type(operator),), {"_svd": lambda self, shape: None})(
        **{name: getattr(operator, name) for name in operator.__dataclass_fields__}
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_z_is_drawn_from_its_closed_form(name):
    """Mean and covariance of z | x, y over 4 000 draws against x + ρ²AᵀΣ⁻¹(y − Ax) and ρ²(I − ρ²AᵀΣ⁻¹A)."""
    measured = seen(OPERATORS[name]).select(torch.tensor([1]))
    bridge = Splitting(measured, SHAPE)
    x, rows = mixture().sample(Draws.of(4, [0])).reshape(1, *SHAPE), 4_000
    many = Splitting(measured.select(torch.zeros(rows, dtype=torch.int64)), SHAPE)
    z = many.noisy(x.expand(rows, *SHAPE), bridge.last, Draws.of(5, range(rows))).flatten(1)
    a = torch.stack([_real(measured.operator(e.reshape(1, *SHAPE)))[0] for e in torch.eye(6, dtype=F64)], 1)
    rho2, sigma2 = float(bridge.last) ** 2, 0.2**2
    mean = x.flatten() + rho2 / sigma2 * a.T @ (_real(measured.y)[0] - a @ x.flatten())
    covariance = rho2 * (torch.eye(6, dtype=F64) - rho2 / sigma2 * a.T @ a)
    assert float((z.mean(0) - mean).abs().max()) < 4 * rho2**0.5 / rows**0.5
    assert float((z.T.cov() - covariance).abs().max()) < 6 * rho2 / rows**0.5


def _real(y):
    return (torch.view_as_real(y) if y.is_complex() else y).flatten(1)


@pytest.mark.parametrize("name", ["matrix", "each"])
def test_without_a_singular_system_the_root_is_a_polynomial(name):
    """Both routes have one law: the same mean, and (root)² = I − c²AᵀA."""
    operator = OPERATORS[name]
    with_it, without = Splitting(seen(operator), SHAPE), Splitting(seen(blind(operator)), SHAPE)
    assert torch.allclose(without.last, with_it.last, rtol=1e-6)  # of each item, where they differ
    rho = without.last.min()
    v = Draws.of(6, range(4)).normal(SHAPE, F64)
    c2 = (rho / 0.2) ** 2

    def squared(u):
        return c2 * operator.adjoint(operator(u))

    twice = root_of_rest(squared, root_of_rest(squared, v, 0.9025), 0.9025)
    assert torch.allclose(twice, v - squared(v), rtol=0, atol=1e-11)
    x = mixture().sample(Draws.of(4, range(4))).reshape(-1, *SHAPE)
    still = Draws.of(7, range(4))
    for rows in (with_it, without):  # the noise is odd in its draws: the mean of a draw and of its negative is the mean
        mean = rows.noisy(x, rho, _Fixed(still, 0.0))
        pull = rho**2 / 0.2**2 * operator.adjoint(rows.gaussian.residual(x))
        assert torch.allclose(mean, x + pull, rtol=0, atol=1e-12)


class _Fixed(Draws):
    """Draws whose normals are multiplied by a factor."""

    def __init__(self, draws, factor):
        super().__init__(draws.base, draws.index)
        object.__setattr__(self, "factor", factor)

    def normal_like(self, x):
        return self.factor * super().normal_like(x)


@pytest.mark.parametrize("name", OPERATORS)
def test_at_the_end_of_the_bridge_the_likelihood_is_the_likelihood(name):
    likelihood = seen(OPERATORS[name], torch.tensor([0.2, 0.3, 0.1, 0.5], dtype=F64))
    x = mixture().sample(Draws.of(8, range(4))).reshape(-1, *SHAPE)
    for operator in (likelihood.operator, blind(WIDE) if name == "matrix" else likelihood.operator):
        bridge = Splitting(replace(likelihood, operator=operator), SHAPE)
        found = bridge.log_prob(bridge.seen(x), bridge.last)
        assert torch.allclose(found, likelihood.log_prob(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", [EDM(), VP(), Straight()], ids=lambda p: type(p).__name__)
def test_the_reverse_sde_from_a_level_draws_the_posterior_of_denoising(path):
    """p(x_0 | x_0 + ρε = z) of a mixture is known: moments of draws from three levels at once, one per row."""
    denoiser, rows = MixtureDenoiser(mixture(), path), 2000
    x = mixture().sample(Draws.of(9, range(3)))
    levels = torch.tensor([0.05, 0.3, 1.0], dtype=F64)
    z = x + levels[:, None] * Draws.of(10, range(3)).normal((6,), F64)
    index = torch.arange(3).repeat_interleave(rows)
    drawn = Reverse(denoiser, 20)(z[index], levels[index], Draws.of(11, range(3 * rows))).reshape(3, rows, 6)
    for i, level in enumerate(levels):
        exact = denoiser(z[i : i + 1] * path.level(path.time(-level.log())).alpha, float(path.time(-level.log())))
        spread = exact.var.sqrt()[0]
        assert float(((drawn[i].mean(0) - exact.mean[0]) / spread).abs().max()) < 0.1
        assert float((drawn[i].std(0) / spread - 1).abs().max()) < 0.07


@pytest.mark.parametrize("name", ["mask", "complex", "each"])
def test_sweeps_leave_the_exact_posterior_invariant(name):
    """Start from exact draws of four posteriors, run four sweeps: mean and covariance stay within their own error."""
    likelihood, rows = seen(OPERATORS[name]), 250
    index = torch.arange(4).repeat(rows)
    posteriors = condition(mixture(), likelihood, SHAPE)
    start = torch.stack([p.sample(Draws.of(12 + i, range(rows))) for i, p in enumerate(posteriors)], 1)
    chains = SplitGibbs(inner=12).moved(
        MixtureDenoiser(mixture(), EDM(0.002, 20.0)),
        likelihood.select(index),
        start.reshape(-1, *SHAPE),
        4,
        Draws.of(13, range(4 * rows)),
    )
    assert not torch.equal(chains.x.reshape(start.shape), start)
    after = chains.x.reshape(rows, 4, 6)
    for i, posterior in enumerate(posteriors):
        size = posterior.covariance().trace().sqrt()
        assert float((after[:, i].mean(0) - posterior.mean()).norm() / size) < 2.5 / rows**0.5
        assert float(after[:, i].var(0).sum().sqrt() / size) == pytest.approx(1, abs=0.07)


def test_correlated_noise_is_whitened_first():
    root = Draws.of(14, [0]).normal((4, 4), F64)[0] / 4
    noise = Covariance.of_matrix(root @ root.T + 0.02 * torch.eye(4, dtype=F64))
    x = mixture().sample(Draws.of(15, range(2))).reshape(-1, *SHAPE)
    likelihood = Gaussian.correlated(WIDE, WIDE(x), noise)
    likelihood = replace(likelihood, y=likelihood.simulate(x, Draws.of(16, range(2))))
    bridge = Splitting(likelihood, SHAPE)
    assert torch.allclose(bridge.log_prob(bridge.seen(x), bridge.last), _white(likelihood).log_prob(x))


def _white(likelihood):
    return likelihood.whitened()


def test_a_level_that_is_given_is_that_of_every_item():
    each = seen(WIDE, torch.tensor([0.2, 0.3, 0.1, 0.5], dtype=F64))
    bridge = SplitGibbs(rho=0.02).bridge(each, torch.zeros(4, *SHAPE, dtype=F64))
    assert torch.equal(bridge.last, torch.full((4,), 0.02, dtype=F64))
    x = mixture().sample(Draws.of(8, range(4))).reshape(-1, *SHAPE)
    assert torch.allclose(bridge.log_prob(bridge.seen(x), bridge.last), each.log_prob(x))
    with pytest.raises(UserError, match="leave rho out"):
        SplitGibbs(rho=0.02, noise=UnknownNoise())


def test_what_cannot_be_split_is_refused():
    x = torch.zeros(1, *SHAPE, dtype=F64)
    with pytest.raises(UserError, match="sigma = 0"):
        Splitting(seen(WIDE, 0.0), SHAPE)
    with pytest.raises(UserError, match=r"ρ‖A‖ ≤ sigma.*allows"):
        SplitGibbs(rho=0.5).bridge(seen(WIDE), x)
    with pytest.raises(UserError, match="linear operator"):
        Splitting(Gaussian(Clip(-1, 1), x, 0.1), SHAPE)
    with pytest.raises(UserError, match="measures nothing"):
        Splitting(Gaussian(Matrix(torch.zeros(2, 6, dtype=F64), SHAPE), torch.zeros(1, 2, dtype=F64), 0.1), SHAPE)
    with pytest.raises(UserError, match="at least 80 evaluations"):
        SplitGibbs().restore(MixtureDenoiser(mixture(), EDM()), seen(WIDE), x, 60, Draws.of(0, [0]))
    with pytest.raises(UserError, match="too small for it"):
        Reverse(MixtureDenoiser(mixture(), EDM()), 5)(x, 1e-4, Draws.of(0, [0]))


def test_a_blur_without_a_system_agrees_with_one():
    """A periodic blur of images, its spectrum known, beside the same convolution by products alone: equal in law."""
    operator = compose(Blur(gaussian_kernel(3, 0.8)), Mask(torch.ones(4, 4)))
    x = Draws.of(17, range(2)).normal((1, 4, 4), F64)
    y = operator(x)
    bridge = Splitting(Gaussian(operator, y, 0.1), (1, 4, 4))
    assert float(bridge.norm) == pytest.approx(1.0, abs=1e-3)
