"""DDNM, RePaint, CCDF, RED-diff and DiffPIR beside their papers; what holds for every method that moves the state."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from pushforward.denoisers import (
    Denoiser,
    EDMPrediction,
    Estimate,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
    guided,
)
from pushforward.errors import UserError
from pushforward.inverse import (
    AveragePool,
    Function,
    Gaussian,
    Magnitude,
    Mask,
    Matrix,
    condition,
    posterior_samples,
)
from pushforward.inverse.steps import (
    CCDF,
    DDNM,
    DDRM,
    DIFFPIR,
    Constant,
    Measured,
    ProjectedScore,
    Published,
    PublishedGrid,
    REDDiff,
    Renewed,
    RePaint,
    Resampled,
    ReverseSDE,
    Ridge,
    diffpir,
    least_squares,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, Karras, Straight, Table, linear_betas
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers import DDPM, Ancestral, Langevin, simulate
from pushforward.samplers.step import Progress, evaluations

F64 = torch.float64
SHAPE = (1, 4, 4)
METHODS = {
    "ddrm": DDRM(),
    "ddrm, published": DDRM.published(),
    "ddrm, variational": DDRM.variational(),
    "ddnm": DDNM(jump=2, times=2),
    "ddnm, published": DDNM.published(),
    "repaint": RePaint(2, 2),
    "projected": ProjectedScore(),
    "projected, corrector": ProjectedScore(corrector=Langevin()),
    "projected, published": ProjectedScore.published(),
    "ccdf": CCDF(),
    "ccdf, published": CCDF.published(),
    "red-diff": REDDiff(),
    "red-diff, published": REDDiff.published(),
    "diffpir": DIFFPIR,
}
PATHS = [VP(), VE(), EDM(), Straight(), Table.of_betas(linear_betas(1000))]


def operator() -> Matrix:
    """Ten of sixteen components, singular values from 2 to 0.1."""
    u, _, vh = torch.linalg.svd(Draws.of(0, range(10)).normal((16,), F64), full_matrices=False)
    return Matrix(u @ torch.diag(2 * torch.logspace(0, -1.3, 10, dtype=F64)) @ vh, SHAPE)


@dataclass(frozen=True)
class Counting(Denoiser):
    """A denoiser that is not linear, and counts."""

    path: GaussianPath
    calls: list[float] = field(default_factory=list)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.calls.append(level.sigma)
        return Estimate.of_mean(x, level, torch.tanh(x.roll(1, -1) / (1 + level.sigma)) + 0.2 * x / (1 + level.sigma))


def case(path: GaussianPath, sigma: float | Tensor, measures=None, batch: int = 3):
    draws = Draws.of(7, range(batch))
    truth = 0.5 * draws.at("truth").normal(SHAPE, F64)
    likelihood = Gaussian.measure(measures or operator(), truth, sigma, draws)
    return likelihood, path.prior(draws.at("prior").normal(SHAPE, F64)), draws


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_on_every_path_keeps_its_budget(path, method):
    likelihood, start, draws = case(path, 0.1)
    for budget in (7, 20):
        denoiser = Counting(path)
        shown: list[Progress] = []
        found = method.restore(denoiser, likelihood, start, budget, draws, shown.append)
        assert found.shape == start.shape and found.dtype == F64 and bool(torch.isfinite(found).all())
        assert 0 < len(denoiser.calls) <= budget
        assert shown[-1].step == shown[-1].total == len(shown)
        if isinstance(method, (DDRM, REDDiff)) and isinstance(path, VP):
            assert len(denoiser.calls) == budget


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_item_has_the_same_draw_alone_and_with_others(method):
    """One operator and one σ per item; rows do not know of one another."""
    masks = Mask(Draws.of(1, range(3)).uniform((1, 4, 4)) < 0.6, each=True)
    path, sigma = EDM(), torch.tensor([0.05, 0.2, 0.5], dtype=F64)
    likelihood, start, draws = case(path, sigma, masks)
    together = method.restore(Counting(path), likelihood, start, 8, draws)
    for i in range(3):
        rows = torch.tensor([i])
        alone = method.restore(Counting(path), likelihood.select(rows), start[rows], 8, draws[rows])
        assert torch.allclose(together[i], alone[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_samples_and_measurements_are_one_batch(method):
    likelihood, _, _ = case(EDM(), 0.1)
    found = posterior_samples(
        method, Counting(EDM()), likelihood, SHAPE, items=3, samples=2, evaluations=6, dtype=F64, at_once=4
    )
    assert found.shape == (2, 3, *SHAPE)
    again = posterior_samples(method, Counting(EDM()), likelihood, SHAPE, items=3, samples=1, evaluations=6, dtype=F64)
    assert torch.allclose(found[:1], again, rtol=0, atol=1e-9)


class Labelled(nn.Module):
    """A small network of a state and a label."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.label = nn.Linear(16, 16), nn.Embedding(3, 16)
        for i, p in enumerate(self.parameters()):
            p.data = 0.3 * Draws.of(i, [0], "weights").normal(p.shape)[0]

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        h = torch.tanh(self.mix(x.flatten(1)) + time[:, None])
        return (h + (0 if label is None else self.label(label))).reshape(x.shape)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_no_evaluations_are_refused(method):
    likelihood, start, draws = case(EDM(), 0.1)
    with pytest.raises(UserError):
        method.restore(Counting(EDM()), likelihood, start, 0, draws)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_conditions_and_guidance_reach_the_network(method):
    network = NetworkDenoiser(EDM(), Labelled(), EDMPrediction(0.5), accepts=("label",))
    draws = Draws.of(7, range(2))
    mask = Mask(torch.arange(16).reshape(4, 4) % 2 > 0)
    likelihood = Gaussian(mask, mask(0.3 * draws.at("y").normal(SHAPE)), 0.1)
    start = EDM().prior(draws.at("prior").normal(SHAPE))
    one, other = (network.given(label=torch.full((2,), k)) for k in (0, 1))
    with torch.inference_mode():
        found = [
            method.restore(denoiser, likelihood, start, 6, draws) for denoiser in (one, other, guided(one, other, 3.0))
        ]
    for a, b in itertools.combinations(found, 2):
        assert a.dtype == torch.float32 and not torch.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_renewal_by_the_reverse_sde_is_ancestral_sampling(share):
    path, draws = VP(), Draws.of(0, range(2))
    x = path.prior(draws.normal(SHAPE, F64))
    levels = Karras()(path, 6)
    found, expected = (
        simulate(Counting(path), step, x, levels, draws) for step in (Renewed(ReverseSDE(share)), Ancestral(share))
    )
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_the_published_grid_is_the_papers_levels():
    table = Table.of_betas(linear_betas(1000))
    levels = PublishedGrid()(table, 20)
    assert [round(level.t * 1000) for level in levels] == [*range(1000, 0, -50), 0]
    dense = [round(level.t * 1000) for level in PublishedGrid(power=0.5)(table, 10)]
    assert dense[:3] == [1000, round(1000 * 0.9**0.5), round(1000 * 0.8**0.5)] and dense[-2:] == [316, 0]
    for path in (EDM(), VE(), Straight(), VP()):
        ratios = [level.ratio for level in PublishedGrid()(path, 20)]
        assert ratios[0] == path.level(path.t_max).ratio and ratios[-1] == 0 and len(ratios) >= 19
        inner = [level.ratio for level in levels if levels[-2].ratio <= level.ratio < min(ratios[0], 100)]
        assert all(min(abs(r / a - 1) for r in ratios[:-1]) < 1e-6 for a in inner[1:])
    with pytest.raises(UserError, match="at most 1000"):
        PublishedGrid()(EDM(), 1001)


def ddnm_by_hand(path, levels, matrix, y, sigma, start, draws, eta) -> Tensor:
    """Algorithm 4 with its appendix for singular values, η as in DDIM; one item, number by number."""
    u, s, vh = torch.linalg.svd(matrix)
    size = matrix.shape[1]
    s = torch.cat((s, torch.zeros(size - len(s), dtype=F64)))
    y_bar = torch.cat((u.T @ y, torch.zeros(size - len(y), dtype=F64)))
    x, denoiser = start.flatten(), Counting(path)
    for k, (t, r) in enumerate(itertools.pairwise(levels)):
        mean = denoiser.estimate(x.reshape(1, *SHAPE), t).mean.flatten()
        noise = (x - t.alpha * mean) / t.sigma
        d, e = vh @ mean, vh @ noise
        z = vh @ draws.at(k).normal(SHAPE, F64).flatten() if r.sigma > 0 else torch.zeros(size, dtype=F64)
        new = torch.zeros(size, dtype=F64)
        for i in range(size):
            renewed = eta * r.sigma
            if s[i] == 0:
                weight, spread, pulled = 0.0, renewed, 0.0
            else:
                a = r.alpha * sigma / float(s[i])
                weight = 1.0 if renewed >= a else renewed / a
                spread = math.sqrt(renewed**2 - a**2) if renewed >= a else 0.0
                pulled = weight * (y_bar[i] / s[i] - d[i])
            new[i] = r.alpha * (d[i] + pulled) + math.sqrt(1 - eta**2) * r.sigma * e[i] + spread * z[i]
        x = vh.T @ new
    return x.reshape(SHAPE)


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("path", [VP(), EDM(), Straight()], ids=lambda p: type(p).__name__)
def test_ddnm_is_the_papers_algorithm(path, sigma):
    likelihood, start, draws = case(path, sigma)
    method = DDNM(Constant(0.85), grid=Karras())
    found = method.restore(Counting(path), likelihood, start, 6, draws)
    for i in range(3):
        expected = ddnm_by_hand(
            path, Karras()(path, 6), operator().matrix, likelihood.y[i], sigma, start[i], draws[i : i + 1], 0.85
        )
        assert torch.allclose(found[i], expected, rtol=0, atol=1e-9)
    if sigma == 0:
        assert float(likelihood.residual(found).abs().max()) < 1e-9


def test_ddnm_without_noise_needs_no_singular_system_and_with_noise_says_so():
    path, matrix = EDM(), operator()
    bare = Function(matrix, SHAPE, matrix.adjoint)
    likelihood, start, draws = case(path, 0.0, matrix)
    found, expected = (
        DDNM().restore(Counting(path), Gaussian(m, likelihood.y, 0.0), start, 5, draws) for m in (bare, matrix)
    )
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="DDNM of a noisy measurement needs the singular system"):
        DDNM().restore(Counting(path), Gaussian(bare, likelihood.y, 0.1), start, 5, draws)


def published_schedule(total: int, jump: int, times: int) -> list[int]:
    """The order of levels of Lugmayr et al. (2022): after reaching a multiple of `jump`, back up, `times` − 1 times."""
    left = dict.fromkeys(range(0, total - jump, jump), times - 1)
    t, order = total, []
    while t >= 1:
        t -= 1
        order.append(t)
        if left.get(t, 0) > 0:
            left[t] -= 1
            t += jump
            order.append(t)
    return [*order, -1]


@pytest.mark.parametrize(("total", "jump", "times"), [(12, 4, 3), (250, 10, 10), (7, 3, 2), (5, 1, 4)])
def test_time_travel_goes_the_papers_way(total, jump, times):
    """The levels at which the network is asked, one after another: the published order without its way up."""
    path = VE(0.01, 10.0)
    levels = (*path.levels(torch.linspace(1, 0, total, dtype=F64)), path.level(0.0))
    levels = (*levels[:-1], replace(levels[-1], sigma=0.0))
    denoiser, draws = Counting(path), Draws.of(0, range(1))
    step = Resampled(Renewed(), jump, times)
    simulate(denoiser, step, draws.normal((2,), F64), levels, draws)
    order = published_schedule(total, jump, times)
    asked = [at for at, following in itertools.pairwise(order) if following < at]
    place = {level.sigma: total - 1 - i for i, level in enumerate(levels[:-1])}
    assert [place[sigma] for sigma in denoiser.calls] == asked
    assert evaluations(step, path, levels) == len(asked)


def test_repaint_as_published_costs_2410_evaluations_and_keeps_what_is_known():
    path, mask = VP(), Mask(torch.arange(16).reshape(4, 4) % 3 > 0)
    method = RePaint.published()
    likelihood, start, draws = case(path, 0.0, mask, 1)
    step = method.step(Measured.of(likelihood, start), start)
    assert evaluations(step, path, method.levels(path, 250)) == 2410
    found = method.restore(Counting(path), likelihood, start, 120, draws)
    assert torch.allclose(mask(found), likelihood.y, rtol=0, atol=1e-12)
    with pytest.raises(UserError, match="at least one step"):
        RePaint(0, 3).step(Measured.of(likelihood, start), start)


def test_the_mixing_of_time_travel_brings_the_answer_nearer_to_the_posterior():
    """Two numbers that are correlated, one measured: replacement alone leaves the other behind, going back mends it."""
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64)
    mixture = Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, 2, dtype=F64), covariance[None])
    prior, draws = MixtureDenoiser(mixture, EDM(0.01, 10.0)), Draws.of(1, range(1500))
    likelihood = Gaussian(Mask(torch.tensor([True, False])), torch.tensor([[1.5, 0.0]], dtype=F64), 0.1)
    start = prior.path.prior(draws.at("prior").normal((2,), F64))
    [exact] = condition(mixture, likelihood)
    errors = []
    for method, budget in ((RePaint(1, 1), 40), (RePaint(4, 6), 240)):
        found = method.restore(prior, likelihood, start, budget, draws)
        errors.append(float((found.mean(0) - exact.mean()).abs().max()))
        assert abs(float(found[:, 0].std()) / float(exact.covariance()[0, 0].sqrt()) - 1) < 0.3
    assert errors[1] < 0.5 * errors[0] and errors[1] < 0.12


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_ccdf_starts_from_the_estimate_with_so_much_noise(path):
    likelihood, start, draws = case(path, 0.1)
    asked: list[Tensor] = []

    @dataclass(frozen=True)
    class Looks(Counting):
        def estimate(self, x: Tensor, level: Level) -> Estimate:
            asked.append(x / level.alpha)
            return super().estimate(x, level)

    def nothing(measured: Measured, x: Tensor, level: Level, share: float, draws: Draws) -> Tensor:
        return x

    denoiser = Looks(path)
    first = torch.full((3, *SHAPE), 0.7, dtype=F64)
    CCDF(lambda measured: first, 0.4, nothing).restore(denoiser, likelihood, start, 12, draws)
    assert len(denoiser.calls) == 12
    z = draws.at("prior").normal(SHAPE, F64)
    assert torch.allclose(asked[0], first + 0.4 * z, rtol=0, atol=1e-6)


def test_ccdf_comes_closer_and_faster():
    """From a good first estimate 10 evaluations do better than 10 from noise; a worse one needs more noise."""
    draws = Draws.of(1, range(400))
    means = 0.8 * Draws.of(2, range(4)).normal((16,), F64)
    mixture = Mixture.of_covariances(torch.ones(4, dtype=F64), means, torch.full((4,), 0.05, dtype=F64))
    prior = MixtureDenoiser(mixture, EDM(0.01, 20.0))
    truth = mixture.sample(draws).reshape(-1, *SHAPE)
    likelihood = Gaussian.measure(AveragePool(2), truth, 0.05, draws)
    start = prior.path.prior(draws.at("prior").normal(SHAPE, F64))

    def error(method, budget=10) -> float:
        return float((method.restore(prior, likelihood, start, budget, draws) - truth).square().mean().sqrt())

    near = CCDF(lambda measured: truth + 0.15 * draws.at("near").normal(SHAPE, F64), 0.3, step=DDPM)
    far = CCDF(lambda measured: truth + 1.5 * draws.at("far").normal(SHAPE, F64), 0.3, step=DDPM)
    assert error(near) < error(ProjectedScore()) and error(near) < 0.9 * error(far)
    assert error(replace(far, noise=1.5)) < error(far)
    assert error(CCDF(noise=1.0)) < 1.3 * error(ProjectedScore())


def test_first_estimates():
    path = EDM()
    likelihood, start, _ = case(path, 0.3)
    measured = Measured.of(likelihood, start)
    a = operator().matrix
    assert torch.allclose(least_squares(measured).flatten(1), likelihood.y @ torch.linalg.pinv(a).T, rtol=0, atol=1e-9)
    precision = a.T @ a / 0.09 + torch.eye(16, dtype=F64) / 0.25
    expected = torch.linalg.solve(precision, (likelihood.y @ a / 0.09 + 0.2 / 0.25).T).T
    assert torch.allclose(Ridge(0.5, 0.2)(measured).flatten(1), expected, rtol=0, atol=1e-9)


def test_what_ccdf_refuses():
    likelihood, start, draws = case(EDM(), 0.1)
    with pytest.raises(UserError, match="above 0"):
        CCDF(noise=0.0)
    with pytest.raises(UserError, match="first estimate must be finite"):
        CCDF(lambda measured: torch.zeros(3, 16)).restore(Counting(EDM()), likelihood, start, 4, draws)
    with pytest.raises(UserError, match="finite"):
        CCDF(lambda measured: torch.full_like(start, math.nan)).restore(Counting(EDM()), likelihood, start, 4, draws)
    with pytest.raises(UserError, match="got a complex one"):
        CCDF(lambda measured: torch.complex(start, start)).restore(Counting(EDM()), likelihood, start, 4, draws)
    with pytest.raises(UserError, match=r"the model knows noise from 0\.002 on"):
        CCDF(noise=1e-6).restore(Counting(EDM()), likelihood, start, 4, draws)


def test_red_diff_is_adam_on_the_papers_loss():
    path, steps = VP(), 12
    likelihood, start, draws = case(path, 0.1)
    method = REDDiff.published(0.2, 0.25)
    found = method.restore(Counting(path), likelihood, start, steps, draws)
    mu = likelihood.operator.pseudo_inverse(likelihood.y).requires_grad_()
    optimiser = torch.optim.Adam([mu], lr=0.2, betas=(0.9, 0.99))
    for i, level in enumerate(method.grid(path, steps - 1)):
        z = draws.at(i).normal(SHAPE, F64)
        with torch.no_grad():
            predicted = Counting(path).estimate(level.alpha * mu + level.sigma * z, level).noise
        loss = 0.5 * (likelihood.y - likelihood.operator(mu)).square().sum()
        loss = loss + 0.25 * level.sigma / level.alpha * ((predicted - z) * mu).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.allclose(found, mu.detach(), rtol=0, atol=1e-8)


def test_red_diff_finds_what_a_magnitude_and_a_prior_say():
    """A measurement that is not linear; the prior knows the sign."""
    one = torch.ones(1, dtype=F64)
    mixture = Mixture.of_covariances(one, torch.full((1, 4), 0.8, dtype=F64), one * 0.05)
    prior, draws = MixtureDenoiser(mixture, EDM(0.01, 5.0)), Draws.of(1, range(2))
    measures = Magnitude(Matrix(torch.eye(4, dtype=F64)))
    truth = torch.tensor([[0.5, 0.9, 0.7, 1.1]], dtype=F64).expand(2, 4)
    found = REDDiff(0.05).restore(
        prior, Gaussian(measures, truth.abs(), 0.05), prior.path.prior(draws.normal((4,), F64)), 200, draws
    )
    assert torch.allclose(found, truth, atol=0.15)
    with pytest.raises(UserError, match="above 0"):
        REDDiff(rate=0.0)


def test_diffpir_is_the_papers_loop():
    path, lam, zeta = VP(), 7.0, 0.3
    likelihood, start, draws = case(path, 0.1)
    method = diffpir(lam, zeta)
    found = method.restore(Counting(path), likelihood, start, 8, draws)
    a, y, x = operator().matrix, likelihood.y, start.flatten(1)
    levels = PublishedGrid(power=0.5)(path, 8)
    for k, (t, s) in enumerate(itertools.pairwise(levels)):
        mean = Counting(path).estimate(x.reshape(start.shape), t).mean.flatten(1)
        rho = lam * 0.1**2 / t.ratio**2
        fitted = torch.linalg.solve(a.T @ a + rho * torch.eye(16, dtype=F64), (y @ a + rho * mean).T).T
        noise = (x - t.alpha * fitted) / t.sigma
        z = draws.at(k).normal(SHAPE, F64).flatten(1) if s.sigma > 0 else 0.0
        x = s.alpha * fitted + s.sigma * ((1 - zeta) ** 0.5 * noise + zeta**0.5 * z)
    assert torch.allclose(found.flatten(1), x, rtol=0, atol=1e-8)


def test_the_published_settings_are_as_said():
    assert DDRM.published().renewal == Constant(0.85) and DDRM.published().blend(1.0, torch.ones(1)) == 1.0
    assert DDNM.published().renewal == Constant(0.85)
    assert ProjectedScore.published(0.841, 0.246).projection == Published(0.841)
    assert CCDF.published().noise == pytest.approx(0.7204, abs=1e-4)
    assert CCDF.published().step == DDPM
