"""What is derived from (α, σ) against the closed forms of Song et al. (2021), simulation and quadrature."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import hermegauss

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import (
    CLEAN,
    EDM,
    VE,
    VP,
    CosineVP,
    GaussianPath,
    Level,
    Straight,
    SubVP,
    Table,
    Uniform,
    cosine_betas,
    linear_betas,
    ncsn_ladder,
    sqrt_linear_betas,
    zero_terminal_snr,
)

PATHS = {
    "vp": VP(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "straight": Straight(),
    "cosine": CosineVP(),
    "ddpm": Table.of_betas(linear_betas()),
    "cosine-table": Table.of_betas(cosine_betas(100)),
    "latent": Table.of_betas(sqrt_linear_betas(200)),
    "zero-snr": Table.of_betas(zero_terminal_snr(linear_betas(100))),
    "ncsn": Table.of_sigmas(ncsn_ladder()),
}
CLOSED = {  # f(t), g²(t), λ(t), written out from the papers
    "vp": (
        lambda t: -0.5 * (0.1 + 19.9 * t),
        lambda t: 0.1 + 19.9 * t,
        lambda t: -0.5 * torch.log(torch.expm1(0.1 * t + 9.95 * t**2)),
    ),
    "sub-vp": (
        lambda t: -0.5 * (0.1 + 19.9 * t),
        lambda t: (0.1 + 19.9 * t) * (1 - torch.exp(-0.2 * t - 19.9 * t**2)),
        lambda t: -(0.05 * t + 4.975 * t**2) - torch.log(1 - torch.exp(-0.1 * t - 9.95 * t**2)),
    ),
    "ve": (
        lambda t: 0 * t,
        lambda t: (0.01 * 5000**t * math.sqrt(2 * math.log(5000))) ** 2,
        lambda t: -math.log(0.01) - t * math.log(5000),
    ),
    "edm": (lambda t: 0 * t, lambda t: 2 * 80**2 * t, lambda t: -torch.log(80 * t)),
    "straight": (lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t), lambda t: torch.log((1 - t) / t)),
    "cosine": (
        lambda t: -math.pi / 2 / 1.008 * torch.tan(math.pi / 2 * (t + 0.008) / 1.008),
        # β = −2f for a variance-preserving path
        lambda t: math.pi / 1.008 * torch.tan(math.pi / 2 * (t + 0.008) / 1.008),
        None,
    ),
}
TIMES = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.mark.parametrize("name", CLOSED)
def test_drift_diffusion_and_log_snr_equal_the_closed_forms(name):
    path, (drift, diffusion, log_ratio) = PATHS[name], CLOSED[name]
    assert torch.allclose(path.drift(TIMES), drift(TIMES), rtol=1e-9, atol=1e-12)
    assert torch.allclose(path.diffusion_squared(TIMES), diffusion(TIMES), rtol=1e-9)
    if log_ratio is not None:
        assert torch.allclose(path.log_ratio(TIMES), log_ratio(TIMES), rtol=1e-9)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_log_ratio_decreases_and_its_inverse_agrees_with_bisection(path):
    t = torch.linspace(path.t_min, path.t_max, 101, dtype=torch.float64)
    ratio = path.log_ratio(t)
    assert bool((torch.diff(ratio) < 0).all())
    inside = t[:-1]  # the last may be λ = −∞
    assert torch.allclose(path.time(ratio[:-1]), inside, atol=1e-9)
    assert torch.allclose(path.time(ratio[:-1]), GaussianPath.time(path, ratio[:-1]), atol=1e-9)
    outside = path.time(torch.tensor([1e3, -1e3], dtype=torch.float64))
    assert outside.tolist() == pytest.approx([path.t_min, path.t_max], abs=1e-12)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_rates_are_derivatives(path):
    """Central differences, away from the kinks of tables."""
    t = torch.linspace(path.t_min, path.t_max, 9, dtype=torch.float64)[1:-1] + 3.1e-4
    h = 1e-6
    for part in (0, 1):
        slope = (path.scales(t + h)[part] - path.scales(t - h)[part]) / (2 * h)
        assert torch.allclose(path.rates(t)[part], slope, rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        inside = path.rates(t)[0]
    assert torch.equal(inside, path.rates(t)[0])


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_forward_marginals_by_simulation(path):
    """Many small draws of q(x_t | x_s) end in N(α x_0, σ²)."""
    n, x0 = 40000, 1.5
    times = torch.linspace(path.t_min, path.t_max, 9, dtype=torch.float64).tolist()
    x = torch.full((n, 1), x0, dtype=torch.float64)
    draws = Draws.of(1, range(n))
    levels = [CLEAN, *path.levels(times)]
    for i, (s, t) in enumerate(itertools.pairwise(levels)):
        x = path.advance(x, s, t, draws.at(i).normal_like(x))
        assert float(x.mean()) == pytest.approx(t.alpha * x0, abs=4 * t.sigma / n**0.5 + 1e-12)
        assert float(x.std()) == pytest.approx(t.sigma, rel=4 / (2 * n) ** 0.5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(("s", "t"), [(0.1, 0.15), (0.2, 0.9), (0.5, 0.51)])
def test_posterior_mean_and_variance_by_quadrature(path, s, t):
    """Bayes by brute force: q(x_s | x_0) as the measure, q(x_t | x_s) as the likelihood."""
    low, high = path.level(s), path.level(t)
    x0 = 0.7
    x = high.alpha * x0 - 0.8 * high.sigma
    nodes = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    xs = low.alpha * x0 + low.sigma * nodes
    scale = high.alpha / low.alpha
    fresh = high.sigma**2 - (scale * low.sigma) ** 2
    log_weight = -0.5 * nodes**2 - 0.5 * (x - scale * xs) ** 2 / fresh
    weight = torch.softmax(log_weight, 0)
    mean = float((weight * xs).sum())
    variance = float((weight * (xs - mean) ** 2).sum())
    got = path.posterior(*(torch.tensor([[v]], dtype=torch.float64) for v in (x0, x)), s, t)
    assert float(got.mean) == pytest.approx(mean, rel=1e-6, abs=1e-8)
    assert got.var == pytest.approx(variance, rel=1e-6)


def test_posterior_per_sample_and_at_the_ends():
    path = VP()
    x0, x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).double(), torch.ones(2, 3).double()
    s, t = torch.tensor([0.1, 0.3]).double(), torch.tensor([0.2, 0.9]).double()
    both = path.posterior(x0, x, s, t)
    for i in range(2):
        one = path.posterior(x0[i : i + 1], x[i : i + 1], float(s[i]), float(t[i]))
        assert torch.allclose(both.mean[i], one.mean[0])
        assert float(both.var[i]) == pytest.approx(one.var)
    clean = path.posterior(x0, x, CLEAN, 0.4)
    assert torch.allclose(clean.mean, x0)
    assert clean.var == 0.0
    with pytest.raises(UserError, match="more"):
        path.posterior(x0, x, 0.5, 0.2)


def test_the_posterior_of_a_table_is_that_of_the_paper():
    """β̃ = β(1 − ᾱ_{k−1})/(1 − ᾱ_k) and the mean of Ho et al., eq. 7."""
    betas = linear_betas()
    table = Table.of_betas(betas)
    bar = torch.cumprod(1 - betas, 0)
    x0, x = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[1.1]], dtype=torch.float64)
    for k in (2, 10, 500, 1000):
        beta, now, before = float(betas[k - 1]), float(bar[k - 1]), float(bar[k - 2])
        got = table.posterior(x0, x, (k - 1) / 1000, k / 1000)
        mean = before**0.5 * beta / (1 - now) * 0.3 + (1 - beta) ** 0.5 * (1 - before) / (1 - now) * 1.1
        assert got.var == pytest.approx(beta * (1 - before) / (1 - now), rel=1e-9)
        assert float(got.mean) == pytest.approx(mean, rel=1e-9)


@given(t=st.floats(0.01, 0.99), s=st.floats(0.01, 0.99))
def test_a_reverse_draw_of_the_posterior_undoes_an_advance_in_law(t, s):
    """Marginals agree: Σ over x_t of q(x_s | x_t, x_0) q(x_t | x_0) is q(x_s | x_0), exactly, in mean and variance."""
    s, t = min(s, t), max(s, t)
    path = VP()
    x0 = torch.tensor([[2.0]], dtype=torch.float64)
    nodes, weights = hermegauss(5)
    low, high = path.level(s), path.level(t)
    means = [float(path.posterior(x0, high.alpha * x0 + high.sigma * z, s, t).mean) for z in nodes]
    probability = weights / weights.sum()
    mean = float(probability @ means)
    spread = float(probability @ [(m - mean) ** 2 for m in means])
    assert mean == pytest.approx(low.alpha * 2.0, rel=1e-9)
    assert spread + path.posterior(x0, x0, s, t).var == pytest.approx(low.sigma**2, rel=1e-9)


def test_levels_read_alike_as_floats_and_per_sample():
    path = EDM()
    both = path.level(torch.tensor([0.1, 0.5]))
    for i, t in enumerate((0.1, 0.5)):
        one = path.level(torch.tensor(t))
        assert float(both.ratio[i]) == pytest.approx(one.ratio, rel=1e-6)
        assert float(both.log_ratio[i]) == pytest.approx(one.log_ratio, rel=1e-6)
    assert CLEAN.log_ratio == math.inf
    assert CLEAN.ratio == 0.0
    assert Straight().level(1.0).log_ratio == -math.inf
    assert Straight().level(1.0).ratio == math.inf
    assert path.level(one) is one
    assert isinstance(path.levels([0.2])[0], Level)


def test_the_start_of_sampling_has_the_last_sigma():
    z = torch.ones(1, 2)
    assert torch.allclose(EDM().prior(z), torch.full((1, 2), 80.0))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: VP().level(1.5), "time 1.5 is outside"),
        (lambda: VP().level(math.nan), "outside"),
        (lambda: VP().level("noon"), "a time is a number in .*'noon'"),
        (lambda: VP().level(None), "a time is a number"),
        (lambda: Uniform()(VP(), "3"), "whole number of at least 1; got '3'"),
        (lambda: Uniform()(VP(), 0), "whole number of at least 1; got 0"),
        (lambda: VP().level(torch.tensor([0.5, -0.1])), "time -0.1 is outside"),
        (lambda: VP().levels([0.1, 2.0]), "time 2 is outside"),
        (lambda: VP().levels([math.nan]), "time nan is outside"),
        (lambda: VP().levels(torch.ones(2, 2)), "list of numbers"),
        (lambda: VP().advance(torch.ones(1, 1), 0.5, 0.2, torch.ones(1, 1)), "less"),
        (lambda: VP(beta_min=3.0, beta_max=1.0), "beta_min"),
        (lambda: VP(t_min=0.9, t_max=0.1), "t_min"),
        (lambda: SubVP(t_max=1.5), "t_min"),
        (lambda: CosineVP(offset=-1.0), "offset"),
        (lambda: VE(sigma_min=0.0), "sigma_min"),
        (lambda: EDM(sigma_min=5.0, sigma_max=1.0), "sigma_min"),
        (lambda: Straight(t_min=-0.1), "t_min"),
    ],
)
def test_what_paths_refuse(bad, says):
    with pytest.raises(UserError, match=says):
        bad()
