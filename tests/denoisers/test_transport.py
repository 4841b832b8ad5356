"""The probability flow as a bijection: Gaussian data in closed form, mixtures against their density, batches."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pushforward.denoisers import EDMPrediction, Mixture, MixtureDenoiser, NetworkDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.denoisers.transport import ANGLE, DEFAULT, transport
from pushforward.errors import UserError
from pushforward.flows import AdaptiveFlow
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.divergence import Hutchinson
from pushforward.numerics.ode import Adaptive, Largest
from pushforward.numerics.random import Draws, key, normal
from pushforward.numerics.tableaus import DOP853
from pushforward.paths import CLEAN, EDM, VE, VP, CosineVP, Straight, SubVP, Table, linear_betas, zero_terminal_snr

FINE = AdaptiveFlow(Adaptive(Largest(1e-9, 1e-9), DOP853), 1e-8)
PATHS = [
    VP(t_min=1e-5),
    CosineVP(t_min=1e-4),
    SubVP(t_min=1e-2),
    VE(sigma_min=1e-3),
    EDM(sigma_min=1e-3),
    Straight(),
    Table.of_betas(zero_terminal_snr(linear_betas())),
]
NAMES = [type(path).__name__ for path in PATHS]


def gaussian(spreads=(0.3, 0.7, 1.0)):
    mean = torch.tensor([0.4, -0.2, 0.1], dtype=torch.float64)
    turn = torch.linalg.qr(normal(torch.tensor([key("turn")]), (3, 3), torch.float64)[0])[0]
    covariance = turn @ torch.diag(torch.tensor(spreads, dtype=torch.float64) ** 2) @ turn.T
    return Mixture.of_covariances(torch.ones(1).double(), mean[None], covariance[None])


def modes():
    """Three modes in two dimensions, standard deviations 0.05 to 0.4."""
    means = torch.tensor([[0.8, 0.0], [-0.6, 0.7], [-0.5, -0.8]], dtype=torch.float64)
    covariances = torch.tensor(
        [[[0.01, 0.0], [0.0, 0.16]], [[0.04, 0.015], [0.015, 0.02]], [[0.0025, 0.0], [0.0, 0.0064]]],
        dtype=torch.float64,
    )
    return Mixture.of_covariances(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, covariances)


def log_density(mixture, x):
    return MixtureDenoiser(mixture, EDM()).log_prob(x, CLEAN)


def moments_of(mixture):
    return Moments.of(mixture.mean(), mixture.covariance())


def likelihood(mixture, path, x, solver=DEFAULT, **options):
    moments = moments_of(mixture)
    move = transport(MixtureDenoiser(mixture, path), solver, sigma_data=moments.scale, **options)
    end = move.solve(x)
    return moments.log_prob(end.y, move.last) + end.log_det


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
@pytest.mark.parametrize("to_clean", [True, False])
def test_gaussian_data_end_where_the_closed_form_says(path, to_clean):
    """x_1 = α_1 m + √((α_1²C + σ_1²)/(α²C + σ²)) (x − αm), and log det half the difference of the log-determinants."""
    mixture, moments = gaussian(), moments_of(gaussian())
    x = mixture.sample(Draws.of(0, range(6)))
    move = transport(MixtureDenoiser(mixture, path), FINE, to_clean=to_clean)
    first = CLEAN if to_clean else move.first
    end = move.solve(x)
    exact = moments.colour(moments.whiten(x, first), move.last)
    scale = float(exact.abs().max())
    slack = 10 * (float(move.first.ratio) / 0.3) ** 4 if to_clean else 0.0
    assert (end.y - exact).abs().max() < (1e-7 + slack) * scale
    ratio = [(level.alpha**2 * moments.variances + level.sigma**2).log().sum() / 2 for level in (move.last, first)]
    assert (end.log_det - (ratio[0] - ratio[1])).abs().max() < 1e-6 + slack
    back = move.solve(end.y, reverse=True)
    assert (back.y - x).abs().max() < 1e-6 + slack
    assert (back.log_det + end.log_det).abs().max() < 1e-6 + slack


@pytest.mark.parametrize("path", PATHS[:5], ids=NAMES[:5])
def test_mixtures_have_their_density(path):
    mixture = modes()
    x = mixture.sample(Draws.of(0, range(24)))
    found = likelihood(mixture, path, x, FINE)
    slack = (float(path.level(path.t_min).ratio) / 0.05) ** 4 * 30
    assert (found - log_density(mixture, x)).abs().max() < 2e-5 + slack


def test_the_default_solver_is_within_a_few_ten_thousandths_of_a_nat():
    mixture = modes()
    x = mixture.sample(Draws.of(1, range(64)))
    found, exact = likelihood(mixture, EDM(), x), log_density(mixture, x)
    assert (found - exact).square().mean().sqrt() < 3e-4
    coarse = likelihood(mixture, EDM(), x, Adams(24, 3, Bunched(-0.3)))
    assert (coarse - exact).square().mean().sqrt() > 1e-3  # the control: few evaluations are not enough


def test_without_the_last_stretch_it_is_the_density_of_the_noisy_data():
    mixture, path = modes(), EDM(sigma_min=0.02)
    denoiser, x = MixtureDenoiser(modes(), EDM(sigma_min=0.02)), modes().sample(Draws.of(2, range(16)))
    noisy = likelihood(mixture, path, x, FINE, to_clean=False)
    assert (noisy - denoiser.log_prob(x, path.t_min)).abs().max() < 1e-5
    assert (noisy - log_density(mixture, x)).abs().max() > 1e-2
    later = likelihood(mixture, path, x, FINE, to_clean=False, start=0.01)
    assert (later - denoiser.log_prob(x, 0.01)).abs().max() < 1e-5


def test_matching_the_moments_of_the_noise_end_matters():
    """N(0, σ_max²) in its place is off by far more than the solver."""
    mixture, path = modes(), EDM(sigma_max=20.0)
    x = mixture.sample(Draws.of(3, range(16)))
    move = transport(MixtureDenoiser(mixture, path), FINE)
    end = move.solve(x)
    plain = Moments.of(torch.zeros(2), torch.zeros(2)).log_prob(end.y, move.last) + end.log_det
    exact = log_density(mixture, x)
    assert (plain - exact).abs().max() > 5e-3
    assert (moments_of(mixture).log_prob(end.y, move.last) + end.log_det - exact).abs().max() < 3e-4


@pytest.mark.parametrize("solver", [DEFAULT, AdaptiveFlow()], ids=["fixed", "adaptive"])
def test_alone_as_in_any_batch(solver):
    mixture, path = modes(), VP(t_min=1e-5)
    x = mixture.sample(Draws.of(4, range(8)))
    together = likelihood(mixture, path, x, solver)
    assert max(abs(float(likelihood(mixture, path, x[i : i + 1], solver) - together[i])) for i in range(8)) < 1e-10


class Small(nn.Module):
    """A smooth float32 network with a label per sample."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.labels = nn.Linear(3, 16), nn.Linear(16, 2), nn.Embedding(3, 16)
        for i, weight in enumerate(self.parameters()):
            weight.data = 0.6 * normal(torch.tensor([i]), weight.shape)[0]

    def forward(self, x, t, label):
        hidden = self.inner(torch.cat((x, t[:, None]), 1)) + self.labels(label)
        return self.outer(torch.nn.functional.silu(hidden))


def conditioned(labels):
    return NetworkDenoiser(EDM(), Small(), EDMPrediction(0.5), accepts=("label",)).given(label=labels)


@pytest.mark.parametrize("solver", [DEFAULT, AdaptiveFlow()], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("probes", [None, 2])
def test_conditions_follow_their_samples(solver, probes):
    """Networks in float32: labels differ from sample to sample, samples finish at different times."""
    labels, draws = torch.tensor([0, 1, 2, 1, 0]), Draws.of(0, range(5))
    x = 0.5 * normal(torch.arange(5), (2,))

    def run(rows):
        rule = {"divergence": Hutchinson(draws[rows], probes)} if probes else {}
        return transport(conditioned(labels[rows]), solver, **rule).solve(x[rows])

    together = run(torch.arange(5))
    assert together.y.dtype == torch.float32 and together.log_det.dtype == torch.float64
    for i in range(5):
        alone = run(torch.tensor([i]))
        assert abs(float(alone.log_det - together.log_det[i])) < 1e-5
        assert torch.allclose(alone.y, together.y[i], rtol=1e-5)
    other = transport(conditioned((labels + 1) % 3), solver).solve(x)
    assert (other.log_det - transport(conditioned(labels), solver).solve(x).log_det).abs().min() > 1e-3


def test_probes_scatter_as_they_say():
    mixture = modes()
    x = mixture.sample(Draws.of(5, range(200)))
    denoiser, solver = MixtureDenoiser(mixture, EDM()), Adams(40, 3, Bunched(-0.3))
    exact = transport(denoiser, solver).solve(x)
    probed = transport(denoiser, solver, divergence=Hutchinson(Draws.of(6, range(200)), 10)).solve(x)
    standard = (probed.log_det - exact.log_det) / probed.standard_error
    assert (exact.standard_error == 0).all() and (probed.standard_error > 0).all()
    assert abs(float(standard.median())) < 0.3 and 0.8 < float(standard.std()) < 1.5


@pytest.mark.parametrize("to_clean", [True, False])
def test_push_moves_as_solve_does(to_clean):
    mixture = modes()
    x = mixture.sample(Draws.of(7, range(5)))
    move = transport(MixtureDenoiser(mixture, EDM()), to_clean=to_clean)
    z = move.push(x)
    assert torch.allclose(z, move.forward(x)[0]) and torch.allclose(move.push(z, reverse=True), move.inverse(z)[0])
    assert (move.push(z, reverse=True) - x).abs().max() < 1e-3
    assert move.solve(x).evaluations.tolist() == [99 + to_clean] * 5
    assert "to 0" in move.density if to_clean else "x_t at t" in move.density


def test_the_weight_is_the_derivative_of_its_total():
    t = torch.linspace(-6, 6, 25, dtype=torch.float64)
    slopes = [ANGLE.total(v - 1e-4, v + 1e-4) / 2e-4 for v in t.tolist()]
    assert torch.allclose(ANGLE.density(t), torch.tensor(slopes, dtype=torch.float64), rtol=1e-6)


def test_the_result_does_not_depend_on_sigma_data():
    mixture = modes()
    x = mixture.sample(Draws.of(8, range(8)))
    denoiser = MixtureDenoiser(mixture, VP(t_min=1e-4))
    ends = [transport(denoiser, FINE, sigma_data=s).solve(x) for s in (0.3, 1.0)]
    assert torch.allclose(ends[0].y, ends[1].y, atol=1e-6) and torch.allclose(
        ends[0].log_det, ends[1].log_det, atol=1e-6
    )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"start": 0.0}, "a start of t = 0 was given"),
        ({"start": 1.0}, "a start of t = 1 was given"),
        ({"start": 1.5}, r"outside \[0, 1\]"),
        ({"sigma_data": 0.0}, "must be a positive number; got 0"),
    ],
)
def test_wrong_settings(options, words):
    with pytest.raises(UserError, match=words):
        transport(MixtureDenoiser(modes(), EDM()), **options)


class TestMoments:
    LEVEL = VP().level(0.3)

    @pytest.mark.parametrize("full", [True, False])
    def test_log_prob_is_the_normal_one(self, full):
        x = gaussian().sample(Draws.of(0, range(7)))
        mean, covariance = gaussian().mean(), gaussian().covariance()
        law = self.LEVEL.alpha**2 * (covariance if full else covariance.diagonal().diag())
        law = law + self.LEVEL.sigma**2 * torch.eye(3)
        exact = torch.distributions.MultivariateNormal(self.LEVEL.alpha * mean, law).log_prob(x)
        moments = Moments.of(mean, covariance if full else covariance.diagonal())
        assert torch.allclose(moments.log_prob(x, self.LEVEL), exact)
        assert torch.allclose(moments.colour(moments.whiten(x, self.LEVEL), self.LEVEL), x)

    def test_of_samples(self):
        x = gaussian().sample(Draws.of(0, range(4000)))
        full, diagonal = Moments.of_samples(x, full=True), Moments.of_samples(x.reshape(-1, 3, 1))
        white = full.whiten(x, CLEAN)
        assert torch.allclose(torch.cov(white.T), torch.eye(3, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(diagonal.variances, x.var(0)) and diagonal.mean.shape == (3, 1)
        assert full.scale == pytest.approx(diagonal.scale) == pytest.approx(math.sqrt(float(x.var(0).mean())))
        assert torch.equal(full.to(torch.device("cpu")).whiten(x, CLEAN), white)
        assert diagonal.to(torch.device("cpu")).axes is None

    @pytest.mark.parametrize(
        "make, words",
        [
            (lambda: Moments.of(torch.zeros(3), torch.zeros(2, 2)), r"got \(2, 2\)"),
            (lambda: Moments.of(torch.zeros(2), torch.tensor([1.0, -1.0])), "negative or undefined"),
            (lambda: Moments.of(torch.zeros(2), torch.tensor([1.0, torch.nan])), "negative or undefined"),
            (lambda: Moments.of_samples(torch.zeros(1, 3)), "at least two samples; got 1"),
            (lambda: Moments.of(torch.zeros(2), torch.ones(2)).whiten(torch.zeros(4, 3), CLEAN), r"shape \(3,\)"),
        ],
    )
    def test_wrong_input(self, make, words):
        with pytest.raises(UserError, match=words):
            make()


def test_rows_of_wrappers_reach_the_conditions():
    from dataclasses import dataclass

    from pushforward.denoisers import Denoiser

    @dataclass(frozen=True)
    class Wrapped(Denoiser):
        inner: Denoiser
        strength: float = 1.0

        @property
        def path(self):
            return self.inner.path

        def estimate(self, x, level):
            return self.inner.estimate(x, level)

    outer = Wrapped(replace(conditioned(torch.tensor([0, 1, 2]))), 2.0)
    picked = outer.rows(torch.tensor([2, 0]))
    assert picked.strength == 2.0 and picked.inner.conditions["label"].tolist() == [2, 0]
