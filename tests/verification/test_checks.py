"""Every identity holds, and every kind of check fails where something wrong is put in its place."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pushforward.denoisers import EDMPrediction, Estimate, MixtureDenoiser, NoisePrediction
from pushforward.denoisers.estimate import Reading
from pushforward.gan import R1, GradientPenalty, LeastSquares, Minimax
from pushforward.numerics.divergence import Exact
from pushforward.objectives import denoising_score_loss, sliced_loss
from pushforward.objectives.score_matching import score_of
from pushforward.paths import CLEAN, EDM, VP, GaussianPath, Karras, Table, linear_betas, posterior_scales
from pushforward.samplers import DDIM, DDPM, Ancestral, EulerMaruyama, FixedStep, Langevin, Multistep, fixed_large
from pushforward.samplers.ancestral import fixed_small
from pushforward.verification import (
    CHECKS,
    Check,
    Finding,
    adversarial,
    ancestral,
    bound,
    estimates,
    forward,
    guidance,
    langevin,
    likelihood,
    misprints,
    processes,
    score_matching,
    solvers,
)
from pushforward.verification.plot import page
from pushforward.verification.worlds import BIMODAL, Impulses, Line, affine, gaussian, moments

SLOW = {
    "Algorithm 2, all 1000 steps",
    "one pixel, σ² = β: L_T + ΣL + L_0",
    "one pixel, σ² = β̃: L_T + ΣL + L_0",
    "one pixel, ΣL and L_0",
    "one pixel, L_T",
    "the bound lies above the entropy",
    "a sample alone or in a batch",
    "Langevin's stationary variance, δ = 0.01",
    "annealed Langevin finds the weights of far modes",
    "reverse SDE has the forward marginals",
    "marginals of the forward SDE",
    "log-determinant of the flow",
    "the published sampler is biased, T = 1000",
    "the analytic variance is not biased",
    "f is a fixed point",
    "votes are the class posterior for any f",
}
"""Checks that take a second or more."""


@pytest.mark.parametrize(
    "check", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.name in SLOW else []) for c in CHECKS]
)
def test_holds(check):
    row = check()
    assert row.passed, row


def tolerance(name: str) -> float:
    [check] = [check for check in CHECKS if check.name == name]
    return check.tolerance


def error(found: float | Finding) -> float:
    return abs(found.error if isinstance(found, Finding) else found)


def wrong_posterior(s, t):
    """√ᾱ in place of √α, as printed."""
    along_x, along_x0, var = posterior_scales(s, t)
    return along_x * s.alpha, along_x0, var


class Off(MixtureDenoiser):
    """An oracle whose mean is one per cent too large."""

    def estimate(self, x, level):
        right = super().estimate(x, level)
        return Estimate.of_mean(x, level, 1.01 * right.mean, lambda: 1.01 * right.var)


def off(line: Line, path: GaussianPath) -> Off:
    right = line.denoiser(path)
    return Off(right.mixture, right.path)


class Twisted(NoisePrediction):
    """A reading that breaks the invariant."""

    def reading(self, level):
        r = super().reading(level)
        return Reading(r.mean_x, r.mean_f, r.noise_x, 1.001 * r.noise_f)


class Louder(EulerMaruyama):
    """A reverse SDE with one per cent too much noise."""

    def plan(self, path, levels):
        return [replace(move, fresh=1.01 * move.fresh) for move in super().plan(path, levels)]


class OtherScale(EDMPrediction):
    def input_scale(self, level):
        return 1 / (level.sigma**2 + 1) ** 0.5


class Doubled(Exact):
    """A divergence of twice the size."""

    def of(self, x):
        inner = super().of(x)

        def trace(field, x, rows):
            value, columns = inner(field, x, rows)
            return value, 2 * columns

        return trace


class PerCoordinate:
    """R1 with the mean over coordinates where the sum belongs, or without its half."""

    def __init__(self, gamma, factor=2.0):
        self.rule, self.factor = R1(gamma), factor

    def __call__(self, shown):
        return self.factor * self.rule(shown)


class Reversed(Minimax):
    """A discriminator that calls generated items real."""

    def discriminator(self, real, fake):
        return super().discriminator(-real, -fake)


WIDER = replace(likelihood.PLANE, spreads=1.1 * likelihood.PLANE.spreads)
BROKEN = {
    "the best discriminator is log p/q": lambda: adversarial.log_ratio(Reversed()),
    "the hinge measures total variation": lambda: adversarial.total_variation(LeastSquares()),
    "WGAN-GP exceeds the distance by θ²/4λ": lambda: adversarial.linear_critic(lambda w: GradientPenalty(w / 2)),
    "eigenvalues of the smallest game": lambda: adversarial.eigenvalues(PerCoordinate),
    "the smallest game, simulated": lambda: adversarial.smallest_game(PerCoordinate),
    "coverage of a law by itself": lambda: adversarial.covered(0.5),
    "q(x_t | x_0) = N(√ᾱ_t x_0, 1 − ᾱ_t)": lambda: forward.marginals(Table.of_betas(linear_betas(last=0.0201))),
    "mean and variance of q(x_s | x_t, x_0)": lambda: forward.posterior(wrong_posterior),
    "p(x_{t−1} | x_t) is Gaussian for small β": lambda: forward.reverse_is_gaussian(0.3),
    "Algorithm 2, all 1000 steps": lambda: forward.algorithm_2(Ancestral(1.0, fixed_large)),
    "E[x_0 | x_t] and log p_t of a mixture": lambda: estimates.posterior_mean(off),
    "Var[x_0 | x_t] of a mixture": lambda: estimates.posterior_variance(off),
    "Tweedie: α E[x_0 | x_t] = x_t + σ² ∇ log p_t": lambda: estimates.tweedie(off),
    "α·mean + σ·noise = x_t": lambda: estimates.invariant((Twisted(),)),
    "the target of every prediction reads as (x_0, z)": lambda: estimates.targets((Twisted(),)),
    "EDM preconditioning": lambda: estimates.karras_coefficients(OtherScale),
    "EDM loss is 1 at every level where F = 0": lambda: estimates.loss_at_start(EDMPrediction(0.6)),
    "EDM grid, ρ = 7, 18 steps": lambda: estimates.karras_grid(Karras(rho=6.9)),
    "one pixel, σ² = β: L_T + ΣL + L_0": lambda: bound.one_pixel(fixed_small, 7.12969),
    "explicit score matching": lambda: score_matching.explicit(lambda x: 0.5 * score_matching.score(x).square().sum(1)),
    "sliced score matching": lambda: score_matching.sliced(
        lambda x: sliced_loss(lambda v: 1.1 * score_matching.score(v), x, score_matching.DRAWS)
    ),
    "denoising score matching": lambda: score_matching.denoising(loss=lambda *args: 0.09 * denoising_score_loss(*args)),
    "the score needs no Z": lambda: score_matching.without_constant(lambda f: score_of(lambda x: 2 * f(x))),
    "finite-difference score matching": lambda: score_matching.finite_difference(
        lambda x: score_matching.model(x) - 0.1 * x.square().sum(1).square()
    ),
    "Langevin's stationary variance, δ = 0.1": lambda: langevin.stationary_bias(0.1, Langevin(FixedStep(0.11))),
    "annealed Langevin finds the weights of far modes": lambda: langevin.mode_weights(1),
    "NCSN: variance at the last level": lambda: langevin.recursion((1.0, 0.01, 10), 4e-5, 100, 1.1111),
    "f and g² of VP, sub-VP, VE": lambda: processes.closed_forms(square=lambda path, t: 2 * path.diffusion_squared(t)),
    "marginals of the forward SDE": lambda: processes.marginals(drift=lambda path, t: 1.01 * path.drift(t)),
    "reverse SDE has the forward marginals": lambda: processes.reverse_marginals(Louder()),
    "DDIM with η = 1 is DDPM": lambda: ancestral.ddpm_coefficients(Ancestral(0.999)),
    "DDIM encodes and decodes": lambda: ancestral.inversion(Multistep(2)),
    "DDPM, β̃: final variance on Gaussian data": lambda: ancestral.published(
        Ancestral(0.99), ancestral.PUBLISHED["DDPM, β̃"][1]
    ),
    "log-determinant of the flow": lambda: likelihood.jacobian(Doubled()),
    "log p through the probability flow, EDM": lambda: likelihood.log_prob(EDM(), mixture=WIDER),
    "classifier guidance is Bayes' rule": lambda: guidance.classifier(
        lambda x, level: 1.1 * guidance.class_log_prob(x, level)
    ),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in BROKEN])
def test_fails_where_something_is_wrong(name):
    assert not error(BROKEN[name]()) <= tolerance(name)


@pytest.mark.parametrize(
    ("step", "claimed"), [(DDIM, 2), (Multistep(2), 3), (Multistep(3, weights=solvers.printed_third_order), 3)]
)
def test_a_lower_order_than_claimed_is_found(step, claimed):
    solver = solvers.Solver("wrong", step, claimed, "T20", 0.3, counts=(48, 96))
    assert solvers.order_of(solver).error > 0.3


def test_a_lower_order_in_the_variance_is_found():
    assert solvers.order_in_variance(solvers.Solver("wrong", EulerMaruyama(), 2, "T14")).error > 0.25


def test_a_misprint_that_is_right_is_not_called_one():
    same = misprints.first_exponent()._replace(printed=misprints.first_exponent().right)
    assert misprints.compared(lambda: same).error == math.inf


def test_the_worlds_agree_with_themselves():
    """Density, posterior, quantiles: three ways to the same mixture."""
    level = VP().level(0.3)
    grid = np.linspace(-5, 5, 2001)
    mass = np.exp(BIMODAL.posterior(grid, level).log_prob)
    assert mass.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-6)
    assert BIMODAL.cdf(grid[1200], level) == pytest.approx(mass[:1200].sum() * (grid[1] - grid[0]), abs=3e-3)
    there = BIMODAL.carried([0.3, -1.0], level, CLEAN)
    assert BIMODAL.carried(there.tolist(), CLEAN, level) == pytest.approx([0.3, -1.0], abs=1e-9)


def test_moments_are_those_of_one_step_at_a_time():
    levels = VP().levels([1.0, 0.6, 0.3, 0.1])
    denoiser = gaussian(VP(), 0.3, 0.25)
    assert moments(DDPM, denoiser, levels, 0.1, 0.9) == pytest.approx(affine(DDPM, denoiser, levels, 0.1, 0.9))
    assert torch.equal(Impulses(2).at(1, "x").normal_like(torch.ones(4, 1))[:, 0], torch.tensor([0.0, 0, 0, 1]))


def test_a_check_that_raises_or_gives_nan_has_failed_and_says_why():
    def broken():
        raise ValueError("no such thing")

    row = Check("x", "T01", "a with b", 1.0, broken)()
    assert not row.passed and "no such thing" in row.shown
    assert not Check("x", "T01", "a with b", 1.0, lambda: math.nan)().passed
    assert Check("x", "T01", "a with b", 1.0, lambda: -0.5)().to_dict()["measured"] == 0.5


def test_names_are_different_and_sections_exist():
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.tutorial for check in CHECKS} <= {f"T{i:02d}" for i in range(1, 30)}
    assert {f"T{i:02d}" for i in range(6, 21)} <= {check.tutorial for check in CHECKS}


def test_the_page_shows_what_failed():
    curve = solvers.Curve("DDIM", 1, [8, 16], [0.2, 0.1])
    flows = [
        replace(curve, name=name) for name in ("default sampler", *(solver.name for solver in solvers.DETERMINISTIC))
    ]
    row = Check("x < y", "T01", "a with b", 1.0, lambda: 2.0)()
    text = page([row], flows, [curve])
    assert "x &lt; y" in text and "1 of 1 identities fail" in text and text.count("<svg") == 4


@pytest.mark.slow
def test_curves_fall():
    flows, stochastic = solvers.curves((12, 24, 48))
    assert flows[0].name == "default sampler"
    assert len(flows) == len(solvers.DETERMINISTIC) + 1 and len(stochastic) == len(solvers.STOCHASTIC)
    for curve in (*flows, *stochastic):
        assert curve.errors[-1] < curve.errors[0]
