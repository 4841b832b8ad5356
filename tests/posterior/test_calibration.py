"""Tools of calibration on a case known in closed form: right answers pass, and each kind of wrong one is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import Categorical, Energy, Gaussian, Identity, Laplace, Matrix, Product
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import (
    ConformalScale,
    Posterior,
    compare,
    coverage,
    label_free,
    measured,
    prior_draws,
    ranks_of,
    scaled,
    stein_test,
)
from pushforward.posterior.splitting import Splitting
from pushforward.posterior.stein import posterior_score

F64 = torch.float64
DIM, SIGMA = 6, 0.4
ROOT = Draws.of(0, [0], "root").normal((DIM, DIM), F64)[0] / 2
PRIOR = ROOT @ ROOT.T + 0.1 * torch.eye(DIM, dtype=F64)
OPERATOR = Matrix(Draws.of(1, [0], "operator").normal((4, DIM), F64)[0])
DENOISER = MixtureDenoiser(
    Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, DIM, dtype=F64), PRIOR[None]), EDM(0.002, 20.0)
)


@dataclass(frozen=True)
class World:
    """Truths of a Gaussian prior, what was measured, and draws of posteriors that may be wrong."""

    truth: Tensor
    answer: Posterior


def world(items: int = 200, samples: int = 39, widen: float = 1.0, shift: float = 0.0, blind: bool = False) -> World:
    truth = Draws.of(2, range(items), "truth").normal((DIM,), F64) @ torch.linalg.cholesky(PRIOR).T
    likelihood = Gaussian.measure(OPERATOR, truth, SIGMA, Draws.of(3, range(items), "noise"))
    a = OPERATOR.matrix
    gain = torch.linalg.solve(a @ PRIOR @ a.T + SIGMA**2 * torch.eye(4, dtype=F64), a @ PRIOR).T
    covariance = PRIOR - gain @ a @ PRIOR
    z = Draws.of(4, range(samples), "draws").normal((items, DIM), F64)
    mean = (likelihood.y @ gain.T) * (not blind) + shift
    spread = torch.linalg.cholesky(PRIOR if blind else covariance)
    return World(truth, Posterior(mean + widen * z @ spread.T, 1.0, likelihood))


RIGHT, WIDE, NARROW, OFF = world(), world(widen=1.6), world(widen=0.6), world(shift=0.25)


def test_ranks_are_uniform_where_all_is_right_and_tell_what_is_wrong():
    right = ranks_of(RIGHT.answer, RIGHT.truth)
    assert right.passes()
    assert right.names[-1] == "log p(y | x)"
    assert float(right.values.min()) + 1 > 0 and int(right.values.max()) <= 39
    for wrong in (WIDE, NARROW, OFF):
        assert not ranks_of(wrong.answer, wrong.truth).passes()
    wide, narrow = (ranks_of(w.answer, w.truth).histogram(4)[:, 0] for w in (WIDE, NARROW))
    assert wide[1:3].sum() > 0.55 > 0.45 > narrow[1:3].sum()
    with pytest.raises(UserError, match="20 simulations"):
        ranks_of(world(10).answer, world(10).truth).p_values()


def test_ranks_of_the_prior_alone_are_told_by_the_likelihood():
    """Draws that ignore y are right about x on average: only log p(y | x) shows it."""
    blind = world(blind=True)
    found = ranks_of(blind.answer, blind.truth).p_values()
    assert found["log p(y | x)"] < 1e-6
    assert found["sum"] > 0.01


def test_coverage_curves():
    right, narrow = coverage(RIGHT.answer, RIGHT.truth), coverage(NARROW.answer, NARROW.truth)
    assert right.levels == (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    for level, covered, error in zip(right.levels, right.covered, right.error, strict=True):
        assert abs(covered - level) < 3.5 * error
    assert narrow.at(0.9) < 0.75
    assert coverage(world(samples=9).answer, RIGHT.truth).levels == (0.5, 0.6, 0.7, 0.8)
    with pytest.raises(UserError, match="too few"):
        coverage(world(samples=2).answer, RIGHT.truth)
    with pytest.raises(UserError, match="shape"):
        coverage(RIGHT.answer, RIGHT.truth[:5])


@pytest.mark.parametrize("how", [{"widen": 1.6}, {"widen": 0.6}, {"shift": 0.25}, {}], ids=str)
def test_a_conformal_scale_covers_on_items_it_has_not_seen(how):
    wrong, half = world(1000, **how), (torch.arange(500), torch.arange(500, 1000))
    first, second = (
        Posterior(wrong.answer.samples[:, rows], 1.0, wrong.answer.likelihood.select(rows)) for rows in half
    )
    fitted = ConformalScale.fit(first, wrong.truth[half[0]], 0.9)
    covered = fitted.interval(second).holds(wrong.truth[half[1]]).double().mean()
    assert float(covered) == pytest.approx(0.9, abs=0.035)
    with pytest.raises(UserError, match="at least 9 items"):
        ConformalScale.fit(world(8).answer, world(8).truth)


def test_a_conformal_scale_that_no_draws_can_give_is_refused():
    right = world(40)
    alike = right.answer.samples.clone()
    alike[:, :, 0] = 0.0
    with pytest.raises(UserError, match="17% of all values are alike"):
        ConformalScale.fit(Posterior(alike, 1.0), right.truth)
    assert ConformalScale.fit(Posterior(alike, 1.0), right.truth, 0.7).scale > 0
    with pytest.raises(UserError, match="100% of all values"):
        ConformalScale.fit(Posterior(torch.zeros_like(alike), 1.0), right.truth)
    with pytest.raises(UserError, match="not finite"):
        ConformalScale.fit(right.answer, torch.full_like(right.truth, torch.nan))
    with pytest.raises(UserError, match="shape"):
        ConformalScale.fit(right.answer, right.truth[:, :2])


def test_with_the_fewest_items_the_scale_is_the_largest_that_was_needed():
    nine = world(9)
    fitted = ConformalScale.fit(nine.answer, nine.truth)
    needed = (nine.truth - nine.answer.mean).abs() / nine.answer.deviation
    assert fitted.scale == pytest.approx(float(needed.max()))


def test_ties_with_the_truth_are_broken_evenly():
    """One number of which nothing is left open, as under a clipped measurement: every rank is as good as any."""
    same = torch.ones(39, 200, 1, dtype=F64)
    ranks = ranks_of(Posterior(same, 1.0), same[0])
    assert ranks.passes() and int(ranks.values.min()) == 0 and int(ranks.values.max()) == 39


def test_ranks_of_complex_items_see_their_imaginary_part():
    z = Draws.of(20, range(40)).normal((200, 4, 2), F64)
    wrong = torch.view_as_complex(z * torch.tensor([1.0, 0.3], dtype=F64))
    found = ranks_of(Posterior(wrong[1:], 1.0), torch.view_as_complex(z[0])).p_values()
    assert found["sum"] > 0.01 > 1e-6 > found["projection 2"]


def test_coverage_of_weighted_draws_asks_what_they_are_worth():
    weighted = replace(RIGHT.answer, log_weights=torch.where(torch.arange(39) < 12, 0.0, -1e3)[:, None].expand(39, 200))
    assert coverage(weighted, RIGHT.truth).levels == (0.5, 0.6, 0.7, 0.8)
    few = Posterior(RIGHT.answer.samples[:12], 1.0)
    same = coverage(few, RIGHT.truth).at(0.8)
    assert coverage(weighted, RIGHT.truth).at(0.8) == pytest.approx(same, abs=0.02)


def test_label_free_checks_pass_right_draws_and_tell_wrong_ones():
    assert label_free(RIGHT.answer).passes()
    for wrong in (world(blind=True), WIDE, NARROW):
        assert not label_free(wrong.answer).passes()
    x = torch.zeros(3, DIM, dtype=F64)
    with pytest.raises(UserError, match="noise is Gaussian"):
        label_free(Posterior(x[None], 1.0, Laplace(OPERATOR, OPERATOR(x), 1.0)))


def test_residuals_are_judged_by_the_noise_level_that_was_drawn_with_them():
    keys = Draws.of(11, range(200))
    x, sigma = keys.normal((20,), F64), 0.1 + keys.at("sigma").uniform((), F64)
    seen = replace(Gaussian.measure(Identity(), x, sigma, keys), sigma=0.5)
    assert not label_free(Posterior(x[None], 1, seen)).passes()
    assert label_free(Posterior(x[None], 1, seen, sigma=sigma[None])).passes()


def test_residuals_that_are_not_white_are_told():
    """Noise that is a random walk, of the right size, under draws that follow y to the noise."""
    items, size = 40, 30
    noise = Draws.of(5, range(items)).normal((size,), F64)
    walk = noise.cumsum(1) / noise.cumsum(1).std()
    identity = Matrix(torch.eye(size, dtype=F64))
    x = torch.zeros(2, items, size, dtype=F64)
    right, wrong = (label_free(Posterior(x, 1.0, Gaussian(identity, y, 1.0))) for y in (noise, walk))
    assert right.tests[1].p_value > 0.01
    assert wrong.tests[1].p_value < 1e-6
    assert wrong.tests[1].value > 0.5


def test_the_score_of_z_given_y_is_its_gradient():
    """∇ log p(z | y) in closed form: z ~ N(0, C + ρ²), y | z ~ N(A z, σ² − ρ²AAᵀ)."""
    likelihood = RIGHT.answer.likelihood.select(torch.arange(3))
    split = Splitting(likelihood, (DIM,), 0.7)
    z, rho = RIGHT.truth[:3], split.last
    a = OPERATOR.matrix
    noise = SIGMA**2 * torch.eye(4, dtype=F64) - rho**2 * a @ a.T
    away = torch.linalg.solve(noise, (likelihood.y - z @ a.T).T).T @ a
    exact = away - torch.linalg.solve(PRIOR + rho**2 * torch.eye(DIM, dtype=F64), z.T).T
    assert torch.allclose(posterior_score(split, DENOISER, z, rho), exact, rtol=1e-8, atol=1e-8)


def test_the_stein_discrepancy_tells_draws_that_are_wrong_without_a_truth():
    right = stein_test(world(40, 60).answer, DENOISER, Draws.of(6, range(40)))
    assert float(right.p_value.median()) > 0.25
    assert float((right.p_value < 0.05).double().mean()) < 0.2
    for wrong in (world(40, 60, widen=1.6), world(40, 60, widen=0.5), world(40, 60, shift=0.6)):
        told = stein_test(wrong.answer, DENOISER, Draws.of(6, range(40)))
        assert stats.combine_pvalues(told.p_value.numpy()).pvalue < 1e-4


def test_the_stein_test_says_what_it_needs():
    small = replace(RIGHT.answer, likelihood=replace(RIGHT.answer.likelihood, sigma=1e-4))
    with pytest.raises(UserError, match="too small for it"):
        stein_test(small, DENOISER, Draws.of(6, range(200)))
    with pytest.raises(UserError, match="give the answer its likelihood"):
        stein_test(replace(RIGHT.answer, likelihood=None), DENOISER, Draws.of(6, range(200)))


def test_the_comparison_with_exact_draws():
    fine, wider = world(30, 200), world(30, 200, widen=1.6)
    exact = world(30, 1200).answer.samples[200:]
    assert compare(fine.answer, exact, fine.truth).passes
    wide = compare(wider.answer, exact, wider.truth)
    assert wide.variance == pytest.approx(1.6**2, rel=0.1) and wide.distance > 0.3 and not wide.passes
    with pytest.raises(UserError, match="at least 156 exact draws"):
        compare(RIGHT.answer, RIGHT.answer.samples, RIGHT.truth)


def test_items_and_measurements_are_simulated_from_the_model():
    x = prior_draws(DENOISER, (DIM,), Draws.of(7, range(800)), 40, F64)
    assert float((x.T.cov() - PRIOR).norm() / PRIOR.norm()) < 0.15
    template = Gaussian(OPERATOR, torch.zeros(1, 4, dtype=F64), SIGMA)
    seen = measured(template, x, Draws.of(8, range(800)))
    assert float(((seen.y - OPERATOR(x)) / SIGMA).std()) == pytest.approx(1, abs=0.05)
    both = measured(Product((template, replace(template, sigma=1.0))), x[:3], Draws.of(8, range(3)))
    assert not torch.allclose(both.parts[0].y, both.parts[1].y)
    labels = measured(Categorical(lambda v: v[:, :3] * 50, torch.zeros(1).long()), x[:8], Draws.of(9, range(8)))
    assert torch.equal(labels.label, x[:8, :3].argmax(1))
    with pytest.raises(UserError, match="energy"):
        measured(Energy(lambda v: v.sum(1)), x[:2], Draws.of(9, range(2)))


def test_a_scale_is_fitted_to_draws_as_they_are_weighted():
    """x | y ~ N(y/2, 1/2), drawn with twice the variance and weighted right: intervals need no scale."""
    items = 400
    x = Draws.of(0, range(items), "x").normal((1,), F64)
    middle = (x + Draws.of(0, range(items), "noise").normal((1,), F64)) / 2
    z = Draws.of(0, range(400), "draws").normal((items, 1), F64)
    weighted = Posterior(middle + z, 1.0, log_weights=torch.log_softmax(-z[..., 0].square() / 2, 0))
    scale, held, plain = scaled(weighted, x)
    assert scale.scale == pytest.approx(1.645, abs=0.15) and abs(held - 0.9) < 0.05 and abs(plain - 0.9) < 0.05
    assert scaled(Posterior(middle + z, 1.0), x)[0].scale < 1.3  # the same draws counted alike are too wide
