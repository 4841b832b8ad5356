"""The variational bound: the one-pixel world to its digits, Gaussian data where it is tight, training losses."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.interpolate import CubicSpline
from torch import nn

from pushforward.denoisers import (
    BetaVariance,
    DataPrediction,
    EmpiricalDenoiser,
    Estimate,
    LearnedVariance,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
    NoisePrediction,
    VarianceTable,
    WithVariance,
)
from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.bound import (
    Bound,
    Steps,
    bound_loss,
    decoder_term,
    hybrid_loss,
    noise_last,
    prior_term,
    random_term,
    rounding_levels,
    table_levels,
    transition_term,
    variational_bound,
)
from pushforward.objectives.continuous import continuous_bound
from pushforward.objectives.decoders import DiscretisedGaussian, exact_interval, gaussian_density, tanh_interval
from pushforward.paths import (
    CLEAN,
    EDM,
    VE,
    VP,
    CosineVP,
    DDIMStrided,
    Straight,
    SubVP,
    Table,
    UniformLevels,
    UniformLogSNR,
    linear_betas,
)
from pushforward.paths.times import LossAware
from pushforward.samplers.ancestral import analytic, fixed_large, fixed_small

PIXELS = torch.linspace(-1, 1, 256, dtype=torch.float64)
MASS = torch.exp(-((PIXELS + 0.4) ** 2) / (2 * 0.15**2)) + 0.6 * torch.exp(-((PIXELS - 0.5) ** 2) / (2 * 0.1**2))
MASS = MASS / MASS.sum()
TABLE = Table.of_betas(linear_betas())
BIT = math.log(2)


class OnePixel(Denoiser):
    """E[x_0 | x_t] over the 256 values, by their posterior."""

    path = TABLE

    def estimate(self, x, level):
        a, s = level.alpha, level.sigma
        logits = torch.log(MASS) + (a * x * PIXELS - 0.5 * a**2 * PIXELS**2) / s**2
        return Estimate.of_mean(x, level, (torch.softmax(logits, 1) @ PIXELS)[:, None])


def by_quadrature(variance, nodes=12):
    """(L_T, ΣL, L_0) in bits: every x_0 with Gauss-Hermite noise; far from the data the terms are smooth in t."""
    z, q = (torch.tensor(v, dtype=torch.float64) for v in hermegauss(nodes))
    x0, noise = PIXELS.repeat_interleave(nodes)[:, None], z.repeat(256)[:, None]
    weight = (MASS[:, None] * q / q.sum()).reshape(-1)
    levels = table_levels(TABLE)
    steps, denoiser = Steps.of(levels, variance), OnePixel()

    def term(k, of):
        return float(weight @ of(denoiser(TABLE.mix(x0, noise, levels[k]), levels[k]), x0, steps.at(k))) / BIT

    some = [*range(0, 900, 25), *range(900, 999)]
    inner = CubicSpline(some, [term(k, transition_term) for k in some])(np.arange(999))
    first = float(MASS @ prior_term(PIXELS[:, None], levels[0], prior_sd=1.0)) / BIT
    return first, float(inner.sum()), term(999, decoder_term)


@pytest.mark.parametrize(
    ("variance", "inner", "total"), [(fixed_large, 4.62330, 7.12969), (fixed_small, 5.21162, 7.71801)]
)
def test_the_one_pixel_world(variance, inner, total):
    first, middle, last = by_quadrature(variance)
    assert first == pytest.approx(5.96e-6, rel=1e-3)
    assert middle == pytest.approx(inner, abs=2e-4)
    assert last == pytest.approx(2.50639, abs=1e-5)
    assert first + middle + last == pytest.approx(total, abs=2e-4)
    entropy = -float((MASS * MASS.log2()).sum())
    assert entropy == pytest.approx(6.99953, abs=1e-5)
    assert first + middle + last > entropy


def test_the_evaluation_draws_what_the_quadrature_integrates():
    """25 steps of the table, every x_0 forty times, against Gauss-Hermite noise."""
    levels, copies = DDIMStrided()(TABLE, 25), 40
    x0 = PIXELS.repeat(copies)[:, None]
    terms = variational_bound(OnePixel(), x0, levels, Draws.of(0, range(len(x0))), batch=1000)
    assert terms.transitions.shape == (256 * copies, 24)
    z, q = (torch.tensor(v, dtype=torch.float64) for v in hermegauss(12))
    exact = Bound(*(torch.cat(column) for column in zip(*(_given_noise(v, levels) for v in z), strict=True)))
    weight = (q[:, None] / q.sum() * MASS).reshape(-1)
    weights = MASS.repeat(copies) / copies
    for k in range(24):
        values = terms.transitions[:, k]
        error = float((weights**2 @ (values - weights @ values) ** 2) ** 0.5)
        assert float(weights @ values) == pytest.approx(float(weight @ exact.transitions[:, k]), abs=5 * error)
    assert float(weights @ terms.decoder) == pytest.approx(float(weight @ exact.decoder), rel=0.03)
    assert torch.equal(terms.nats, terms.prior + terms.transitions.sum(1) + terms.decoder)
    assert torch.allclose(terms.bits_per_dim(2), terms.nats / (2 * BIT))
    part = variational_bound(OnePixel(), x0[:7], levels, Draws.of(0, range(7)), batch=2)
    assert torch.allclose(part.nats, terms.nats[:7])  # a sample's bound does not depend on its batch


def _given_noise(z, levels):
    x0, steps = PIXELS[:, None], Steps.of(levels, fixed_large)
    estimates = [OnePixel()(TABLE.mix(x0, z.expand(256, 1), v), v) for v in levels[:-1]]
    inner = torch.stack([transition_term(e, x0, steps.at(k)) for k, e in enumerate(estimates[:-1])], 1)
    return prior_term(x0, levels[0]), inner, decoder_term(estimates[-1], x0, steps.at(24))


def test_the_one_pixel_denoiser_is_the_oracle():
    exact = MixtureDenoiser(Mixture.of_points(PIXELS[:, None], MASS), TABLE)
    x = torch.tensor([[0.3], [-0.2]], dtype=torch.float64)
    assert torch.allclose(exact(x, 0.2).mean, OnePixel()(x, 0.2).mean)


S2 = 0.25


def gaussian(path, dim=1):
    means = torch.full((1, dim), 0.3, dtype=torch.float64)
    return MixtureDenoiser(
        Mixture.of_covariances(torch.ones(1).double(), means, torch.tensor([S2], dtype=torch.float64)), path
    )


def entropy_gap(path, steps, variance, denoiser=None):
    """E[bound] − H − KL(p_T ‖ prior) for Gaussian data: all terms are quadratic, so three nodes are exact."""
    denoiser = denoiser or gaussian(path)
    levels = UniformLogSNR()(path, steps)
    z, q = (torch.tensor(v, dtype=torch.float64) for v in hermegauss(3))
    q = q / q.sum()
    x0, noise = (0.3 + S2**0.5 * z).repeat_interleave(3)[:, None], z.repeat(3)[:, None]
    weight = (q[:, None] * q).reshape(-1)
    plan = Steps.of(levels, variance, noise_last)
    total = float(weight @ prior_term(x0, levels[0], prior_sd=1.0))
    for k in range(len(plan)):
        estimate = denoiser(path.mix(x0, noise, levels[k]), levels[k])
        last = k == len(plan) - 1
        value = (
            decoder_term(estimate, x0, plan.at(k), gaussian_density)
            if last
            else transition_term(estimate, x0, plan.at(k))
        )
        total += float(weight @ value)
    top = levels[0]
    var = top.alpha**2 * S2 + top.sigma**2
    mismatch = 0.5 * (var + (0.3 * top.alpha) ** 2 - 1 - math.log(var))
    return total - 0.5 * math.log(2 * math.pi * math.e * S2) - mismatch


@pytest.mark.parametrize("steps", [1, 2, 5, 25])
def test_with_the_exact_variance_the_bound_of_gaussian_data_is_tight_at_any_number_of_steps(steps):
    assert entropy_gap(VP(), steps, analytic) == pytest.approx(0.0, abs=1e-9)


def test_the_published_variances_lose_and_lose_less_with_more_steps():
    for rule in (fixed_small, fixed_large):
        few, many = entropy_gap(VP(), 5, rule), entropy_gap(VP(), 400, rule)
        assert few > many > 0


def test_an_estimated_variance_is_as_tight_as_the_exact_one():
    path = VP()
    levels = UniformLogSNR()(path, 5)[:-1]
    shares = [S2 * (v.alpha**2 + v.sigma**2) / (v.alpha**2 * S2 + v.sigma**2) for v in levels]
    table = VarianceTable(tuple(float(v.log_ratio) for v in levels), tuple(shares))
    assert entropy_gap(path, 5, analytic, WithVariance(gaussian(path), table)) == pytest.approx(0.0, abs=1e-9)


class Heads(nn.Module):
    """x_0 = a x, v = b: two parameters."""

    def __init__(self, b=0.0):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(b))

    def forward(self, x, time):
        return torch.cat((self.a * x, self.b.expand_as(x)), 1)


def test_a_learned_variance_at_its_ends_is_that_of_the_published_rules():
    """v = 1 is σ² = β and v = −1 is σ² = β̃, at every step but the decoder's, whose variance is then β_1 for v = 1."""
    table = Table.of_betas(linear_betas(20, 1e-3, 0.3))
    x0 = 0.5 * Draws.of(0, range(16)).normal((2,), torch.float64)
    for v, rule in ((1.0, fixed_large), (-1.0, fixed_small)):
        base = NetworkDenoiser(table, Heads(v), DataPrediction())
        learned = variational_bound(
            LearnedVariance(base, BetaVariance(table)),
            x0,
            table_levels(table),
            Draws.of(1, range(16)),
            variance=analytic,
        )
        fixed = variational_bound(Halved(base), x0, table_levels(table), Draws.of(1, range(16)), variance=rule)
        assert torch.allclose(learned.transitions, fixed.transitions, rtol=1e-5, atol=1e-7)
        same = torch.allclose(learned.decoder, fixed.decoder, rtol=1e-5)
        assert same is (v == -1.0)


class Halved(Denoiser):
    def __init__(self, base):
        self.base, self.path, self.prediction = base, base.path, base.prediction

    def estimate(self, x, level):
        both = self.base.estimate(x, level)
        return Estimate(x, level, both.output.chunk(2, 1)[0], both.reading)


@pytest.mark.parametrize("aware", [False, True])
def test_a_random_term_is_an_unbiased_estimate_of_the_bound(aware):
    table = Table.of_betas(linear_betas(20, 1e-3, 0.3))
    n, levels = 20_000, table_levels(table)
    x0 = (0.5 * Draws.of(0, [0]).normal((2,), torch.float64)).clamp(-1, 1).expand(n, 2)
    model = Halved(NetworkDenoiser(table, Heads(), DataPrediction()))
    law = LossAware(UniformLevels(20), cells=20) if aware else UniformLevels(20)
    if aware:
        for step in range(5):
            random_term(model, x0[:2000], Draws.of(step, range(2000)), levels, law=law, observe=law.observe)
        assert float(law.probabilities().max()) > 3 / 20  # it has learned where the terms are large
    with torch.no_grad():
        full = variational_bound(model, x0[:4000], levels, Draws.of(7, range(4000)))
        term = random_term(model, x0, Draws.of(8, range(n)), Steps.of(levels, fixed_large), law=law)
    expected = float((full.transitions.sum(1) + full.decoder).mean())
    assert float(term.nats.mean()) == pytest.approx(expected, abs=5 * float(term.nats.std()) / n**0.5)
    loss = bound_loss(model, x0[:64], Draws.of(9, range(64)), levels)
    assert torch.allclose(loss, random_term(model, x0[:64], Draws.of(9, range(64)), levels).nats / 2)


def test_the_hybrid_loss_trains_the_variance_by_the_bound_and_the_mean_by_the_simple_loss():
    table = Table.of_betas(linear_betas(20, 1e-3, 0.3))
    x0 = 0.5 * Draws.of(0, range(256)).normal((2,))
    net = Heads(0.2)
    model = LearnedVariance(NetworkDenoiser(table, net, DataPrediction()), BetaVariance(table))
    levels, d = table_levels(table), Draws.of(1, range(256))
    hybrid_loss(model, x0, d, levels, variance=analytic, weight=1.0).mean().backward()
    mean_gradient, variance_gradient = float(net.a.grad), float(net.b.grad)
    net.zero_grad()
    random_term(model, x0, d, levels, variance=analytic).error.mean().backward()
    assert float(net.a.grad) == pytest.approx(mean_gradient, rel=1e-5)
    assert net.b.grad is None or float(net.b.grad) == 0.0
    net.zero_grad()
    bound_loss(model, x0, d, levels, variance=analytic).mean().backward()
    assert float(net.b.grad) == pytest.approx(variance_gradient, rel=1e-4)
    assert math.isfinite(float(net.a.grad))
    assert float(net.a.grad) != pytest.approx(mean_gradient, rel=1e-2)


@pytest.mark.parametrize(
    "path", [VP(t_min=1e-4), EDM(sigma_max=200.0), Straight(t_min=1e-3)], ids=["vp", "edm", "straight"]
)
def test_the_continuous_bound_of_gaussian_data_is_its_entropy_on_every_path(path):
    n = 20_000
    denoiser = gaussian(path)
    x0 = denoiser.mixture.sample(Draws.of(0, range(n)))
    with torch.no_grad():
        got = continuous_bound(denoiser, x0, Draws.of(1, range(n)), points=4, decoder=gaussian_density)
    entropy = 0.5 * math.log(2 * math.pi * math.e * S2)
    assert float(got.nats.mean()) == pytest.approx(entropy, abs=5 * float(got.nats.std()) / n**0.5 + 2e-3)
    assert got.bits_per_dim(1).shape == (n,)


def test_the_continuous_bound_is_the_limit_of_many_steps():
    path = VP()
    gaps = [entropy_gap(path, steps, fixed_small) for steps in (10, 40, 160)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[1] / gaps[2] > 3  # shrinks about as 1/K


def test_a_network_without_a_variance_decodes_with_that_of_the_noise():
    class Zero(nn.Module):
        def forward(self, x, time):
            return 0 * x

    path = EDM()
    x0 = torch.zeros(3, 2)
    got = continuous_bound(
        NetworkDenoiser(path, Zero(), DataPrediction()), x0, Draws.of(0, range(3)), decoder=gaussian_density
    )
    assert got.decoder[0].item() == pytest.approx(math.log(2 * math.pi) + 2 * math.log(0.002), rel=1e-6)


def test_the_bins_of_the_decoder_share_all_mass_and_both_tails_are_kept():
    for interval in (exact_interval, tanh_interval):
        decoder = DiscretisedGaussian(log_interval=interval)
        for mean, sd in ((0.1, 0.05), (-0.99, 0.3), (0.7, 0.004)):
            log_p = decoder(PIXELS, torch.tensor(mean), torch.tensor(sd))
            assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=3e-8)
    far = DiscretisedGaussian()(PIXELS[[0, 128, 255]], torch.tensor(0.5), torch.tensor(0.004))
    assert bool(far.isfinite().all())
    z = (PIXELS[128].item() + 1 / 255 - 0.5) / 0.004
    assert far[1].item() == pytest.approx(float(torch.special.log_ndtr(torch.tensor(z).double())), rel=1e-6)
    tanh = DiscretisedGaussian(log_interval=tanh_interval)(PIXELS, torch.tensor(0.1), torch.tensor(0.05))
    exact = DiscretisedGaussian()(PIXELS, torch.tensor(0.1), torch.tensor(0.05))
    seen = exact > math.log(1e-6)
    assert 0.05 < float((tanh - exact)[seen].abs().max()) < 1.3
    assert float(tanh.min()) == pytest.approx(math.log(1e-12))


def test_the_decoder_has_finite_gradients_far_from_the_data():
    mean = torch.tensor([0.0, 0.9, -1.0], requires_grad=True)
    sd = torch.tensor(0.01, requires_grad=True)
    DiscretisedGaussian()(torch.tensor([1.0, -1.0, 0.0]), mean, sd).sum().backward()
    assert bool(mean.grad.isfinite().all())
    assert math.isfinite(float(sd.grad))
    narrow = torch.tensor(1e-7, requires_grad=True)
    DiscretisedGaussian()(torch.tensor([0.0]), torch.tensor([0.0]), narrow).sum().backward()
    assert math.isfinite(float(narrow.grad))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: DiscretisedGaussian(1.0, -1.0), "low < high"),
        (lambda: Steps.of(TABLE.levels([1.0, 0.5]), fixed_small), "clean data"),
        (lambda: Steps.of((TABLE.level(0.2), TABLE.level(0.5), CLEAN), fixed_small), "must decrease"),
        (lambda: variational_bound(OnePixel(), PIXELS[:4, None], table_levels(TABLE), Draws.of(0, [1])), "keys"),
        (
            lambda: variational_bound(
                OnePixel(), PIXELS[:1, None], table_levels(TABLE), Draws.of(0, [1]), variance=analytic
            ),
            "does not give",
        ),
        (
            lambda: random_term(
                Halved(NetworkDenoiser(TABLE, Heads(), NoisePrediction())),
                PIXELS[:1, None],
                Draws.of(0, [1]),
                table_levels(TABLE),
                variance=analytic,
            ),
            "does not give",
        ),
    ],
)
def test_what_bounds_refuse(bad, says):
    with pytest.raises(UserError, match=says):
        bad()


PATHS = [EDM(), VP(), CosineVP(), VE(), SubVP(), Straight()]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("bins", [2, 17, 256, 65536])
def test_levels_down_to_rounding_decrease_on_every_path(path, bins):
    width = 2 / (bins - 1)
    levels = rounding_levels(path, width, 50)
    Steps.of(levels, fixed_small, noise_last)  # which refuses a grid that does not decrease
    assert len(levels) == 51 and levels[0].t == path.t_max and levels[-1] is CLEAN
    assert levels[-2].ratio == pytest.approx(max(width / math.sqrt(12), path.level(path.t_min).ratio), rel=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_the_bound_of_two_points_is_a_bit_on_every_path(path):
    points = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    denoiser = EmpiricalDenoiser(points, path)
    x0 = points.repeat(400, 1)
    draws = Draws.of(0, range(len(x0)))
    decoder = DiscretisedGaussian(-1.0, 1.0, 256)
    levels = rounding_levels(path, 2 / 255, 150)
    found = variational_bound(denoiser, x0, levels, draws, variance=analytic, decoder=decoder, last=noise_last)
    bits = found.bits_per_dim(1)
    assert float(bits.mean()) == pytest.approx(1.0, abs=0.1)
