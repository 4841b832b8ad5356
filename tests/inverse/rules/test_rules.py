"""Formulas of the rules against their definition by automatic differentiation, by optimisation and by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from pushforward.denoisers import EDMPrediction, FlowPrediction, Mixture, MixtureDenoiser, NetworkDenoiser, guided
from pushforward.errors import UserError
from pushforward.inverse import (
    DPS,
    MMPS,
    TMPD,
    Blur,
    Categorical,
    Clip,
    DiffPIR,
    Energy,
    Fourier,
    Gaussian,
    Laplace,
    Magnitude,
    Mask,
    PiGDM,
    PlugIn,
    Poisson,
    Product,
    Proximal,
    Quantise,
    RealAsComplex,
    ScoreALD,
    Transmission,
    gaussian_kernel,
)
from pushforward.inverse.rules.proximal import energy, proximal_point
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VP, Level, Straight, Table, linear_betas

F64 = torch.float64
SHAPE, DIM, BATCH = (1, 4, 4), 16, 3
MASK = Mask(torch.arange(16).reshape(4, 4) % 3 > 0)
MASK_OF_ALL = Mask(torch.ones(4, 4))
BLUR = Blur(gaussian_kernel(3, 0.8, F64))


class Labelled(nn.Module):
    """A small network of a state and a label, in double precision."""

    def __init__(self) -> None:
        super().__init__()
        draws = Draws.of(0, range(4), "weights")
        self.first, self.second = (nn.Parameter(0.3 * draws[i : i + 1].normal((DIM, DIM), F64)[0]) for i in (0, 1))
        self.label = nn.Parameter(0.3 * draws[2:3].normal((3, DIM), F64)[0])

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        h = torch.tanh(x.flatten(1) @ self.first + time[:, None].double())
        return (h @ self.second + (0 if label is None else self.label[label])).reshape(x.shape)


NETWORK = Labelled()
LABELS = torch.tensor([0, 1, 2])


def network(path=None, prediction=None) -> NetworkDenoiser:
    return NetworkDenoiser(path or EDM(), NETWORK, prediction or EDMPrediction(0.5), accepts=("label",))


def classifier(x: Tensor) -> Tensor:
    return x.flatten(1)[:, :5] * 3 + x.flatten(1)[:, 5:10] ** 2


def noise(name: str, batch: int = BATCH) -> Tensor:
    return Draws.of(1, range(batch), name).normal(SHAPE, F64)


LIKELIHOODS = {
    "gaussian": Gaussian(MASK, noise("y"), 0.3),
    "each its noise": Gaussian(BLUR, noise("y"), torch.tensor([0.1, 0.3, 0.6], dtype=F64)),
    "magnitude": Gaussian(Magnitude(Fourier() @ RealAsComplex()), noise("y").abs(), 0.3),
    "clip": Gaussian(Clip(-0.5, 0.5, 2.0), noise("y").clamp(-0.5, 0.5), 0.3),
    "laplace": Laplace(BLUR, noise("y"), 0.4),
    "poisson": Poisson(Transmission(MASK, 20.0), (noise("y").abs() * 20).round()),
    "classifier": Categorical(classifier, LABELS),
    "energy": Energy(lambda x: (x.flatten(1) ** 4).sum(1)),
    "product": Product((Gaussian(MASK, noise("y"), 0.3), Categorical(classifier, LABELS))),
}


@pytest.mark.parametrize("make", [network, lambda: network(Straight(), FlowPrediction(0.5))], ids=["EDM", "flow"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_plugging_in_the_mean_is_the_gradient_of_the_log_likelihood(name, make):
    """In float64, of the whole chain from the state to log p(y | m(x))."""
    prior, likelihood = make().given(label=LABELS), LIKELIHOODS[name]
    level = prior.path.level(0.4 if isinstance(prior.path, Straight) else 0.01)
    x = prior.path.mix(0.3 * noise("x0"), noise("z"), level)
    state = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.log_prob(prior(state, level).mean).sum(), state)
    expected = prior(x, level).mean + 2.0 * level.sigma**2 / level.alpha * gradient
    found = PlugIn(2.0)(prior, likelihood)(x, level).mean
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_tilted_gaussian_is_exact():
    """exp(b·x) shifts a Gaussian's mean by C b: the plug-in is exact for it at every level, and so is the prox."""
    path, b = VP(), noise("tilt", 1)
    covariance = torch.eye(DIM, dtype=F64) * 0.25
    prior = MixtureDenoiser(
        Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, DIM, dtype=F64), covariance[None]), path
    )
    tilt = Energy(lambda x: -(x * b).flatten(1).sum(1))
    for level in path.levels([0.1, 0.5, 0.9]):
        x = path.mix(0.0, noise("z"), level)
        mean = prior(x, level).mean
        shift = level.sigma**2 * 0.25 / (level.alpha**2 * 0.25 + level.sigma**2) * b
        for rule in (PlugIn(), Proximal()):
            assert torch.allclose(rule(prior, tilt)(x, level).mean, mean + shift, rtol=0, atol=1e-6)


def test_a_widened_plug_in_counts_the_uncertainty_of_the_mean():
    prior, level = network(), EDM().level(0.01)
    likelihood = LIKELIHOODS["each its noise"]
    found = PlugIn(widening=2.0, variance=lambda level: 0.04)(prior, likelihood)(noise("z"), level).mean
    wide = Gaussian(BLUR, likelihood.y, (likelihood.sigma**2 + 0.08).sqrt())
    assert torch.allclose(found, PlugIn()(prior, wide)(noise("z"), level).mean, rtol=0, atol=1e-12)


def test_dps_is_the_published_loop():
    """Algorithm 1 of Chung et al. 2023, written out on the published table: x − ζ ∇‖y − A x̂0‖ after the DDPM step.

    What remains is that the table's β is not quite that of its continuous schedule.
    """
    table = Table.of_betas(linear_betas())
    prior, likelihood, zeta = network(table), LIKELIHOODS["gaussian"], 0.7
    betas = linear_betas()
    bars = torch.cumprod(1 - betas, 0)
    for n in (100, 400, 800):
        x, level = noise("z"), table.level((n + 1) / 1000)
        assert level.alpha**2 == pytest.approx(float(bars[n]))
        state = x.clone().requires_grad_()
        mean = prior(state, level).mean
        length = likelihood.residual(mean).flatten(1).norm(dim=1).sum()
        (gradient,) = torch.autograd.grad(length, state)
        weight = bars[n - 1] ** 0.5 * betas[n] / (1 - bars[n])  # of the mean in the DDPM step
        shift = DPS(zeta)(prior, likelihood)(x, level).mean - mean.detach()
        assert torch.allclose(weight * shift, -zeta * gradient, rtol=0.02, atol=1e-12)


def test_score_ald_is_its_formula():
    path, likelihood = VP(), LIKELIHOODS["each its noise"]
    prior, level = network(path), path.level(0.3)
    x = noise("z")
    found = ScoreALD(0.7)(prior, likelihood)(x, level).score
    sigma = likelihood.sigma.reshape(-1, 1, 1, 1)
    residual = likelihood.y - BLUR(x / level.alpha)
    pull = BLUR.adjoint(residual) / level.alpha / (sigma**2 + (0.7 * level.sigma / level.alpha) ** 2)
    assert torch.allclose(found, prior(x, level).score + pull, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variance", [0.01, 0.2])
@pytest.mark.parametrize("name", ["laplace", "poisson", "product", "magnitude"])
def test_the_proximal_point_is_the_minimum(name, variance):
    """Against SciPy's own optimiser, of the same objective and from the same start."""
    of, mean = energy(LIKELIHOODS[name].select(torch.tensor([0]))), 0.5 * noise("m", 1)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(flat).reshape(1, *SHAPE)
        value, gradient = of(x)
        away = x - mean
        return float(value + away.square().sum() / (2 * variance)), (gradient + away / variance).flatten().numpy()

    best = minimize(objective, mean.flatten().numpy(), jac=True, method="BFGS", options={"gtol": 1e-8})
    found = proximal_point(of, mean, variance, 60)
    assert objective(found.flatten().numpy())[0] == pytest.approx(best.fun, abs=1e-4)


@pytest.mark.parametrize("name", ["laplace", "poisson", "energy", "classifier", "product"])
def test_smoothed_energies_have_their_gradients_and_are_the_likelihood_where_it_is_smooth(name):
    likelihood = LIKELIHOODS[name]
    x = (0.3 * noise("x")).requires_grad_()
    value, gradient = energy(likelihood)(x.detach())
    away = 1e-6 * noise("step")
    slope = (energy(likelihood)(x.detach() + away)[0] - energy(likelihood)(x.detach() - away)[0]) / 2
    assert torch.allclose(slope, (gradient * away).flatten(1).sum(1), rtol=1e-4, atol=1e-12)
    if name in ("energy", "classifier", "product"):
        assert torch.allclose(value, -likelihood.log_prob(x.detach()), rtol=0, atol=1e-10)


def test_rates_below_zero_are_pulled_back():
    """A mean where counts are impossible: the plain gradient would be without measure."""
    likelihood = Poisson(MASK, torch.full((1, *SHAPE), 2.0, dtype=F64), 5.0)
    found = proximal_point(energy(likelihood), torch.full((1, *SHAPE), -1.0, dtype=F64), 0.3, 60)
    kept = MASK.mask.expand(1, *SHAPE)
    # the root of 5 − 10/x + (x + 1)/0.3
    root = max(np.roots([1 / 0.3, 5 + 1 / 0.3, -10]))
    assert torch.allclose(found[kept], torch.tensor(root, dtype=F64), rtol=0, atol=1e-4)
    assert torch.allclose(found[~kept], torch.tensor(-1.0, dtype=F64))


def test_proximal_is_pigdm_in_closed_form_and_nearly_so_by_descent():
    prior, level, x = network(), EDM().level(0.008), noise("z")
    likelihood = LIKELIHOODS["each its noise"]
    expected = PiGDM()(prior, likelihood)(x, level).mean
    assert torch.allclose(Proximal()(prior, likelihood)(x, level).mean, expected, rtol=0, atol=1e-12)
    by_descent = Product((likelihood,))
    found = Proximal(200)(prior, by_descent)(x, level).mean
    assert torch.allclose(found, expected, rtol=0, atol=1e-3)


def test_diffpir_solves_its_least_squares():
    prior, path = network(), EDM()
    level, x, strength = path.level(0.004), noise("z"), 5.0
    likelihood = LIKELIHOODS["gaussian"]
    mean = prior(x, level).mean
    rho = strength * likelihood.sigma**2 / (level.sigma / level.alpha) ** 2
    a = MASK(torch.eye(DIM, dtype=F64).reshape(-1, *SHAPE)).flatten(1).T
    right = likelihood.y.flatten(1) @ a + rho * mean.flatten(1)
    expected = torch.linalg.solve(a.T @ a + rho * torch.eye(DIM, dtype=F64), right.T).T
    found = DiffPIR(strength)(prior, likelihood)(x, level).mean
    assert torch.allclose(found.flatten(1), expected, rtol=0, atol=1e-9)


def test_maps_that_are_not_linear_by_their_pseudo_inverse():
    """The published vector, (h†(y) − h†(h(m)))/r² through the network's derivative; no derivative of h."""
    prior, level, x = network(), EDM().level(0.01), noise("z")
    camera = Quantise(5, -1.0, 1.0)
    seen = Gaussian(camera, camera(noise("y")), 0.0)
    state = x.clone().requires_grad_()
    mean = prior(state, level).mean
    vector = (
        camera.pseudo_inverse(seen.y, mean.detach()) - camera.pseudo_inverse(camera(mean.detach()), mean.detach())
    ) / 0.04
    (gradient,) = torch.autograd.grad(mean, state, vector)
    found = PiGDM(lambda level: 0.04)(prior, seen)(x, level).mean
    assert torch.allclose(found, mean.detach() + level.sigma**2 * gradient, rtol=0, atol=1e-10)


def test_noise_of_the_pseudo_inverse_is_that_of_the_linear_formula():
    """Clipping that clips nothing is its gain: the noise of h†(y) is found out, and the closed form comes out."""
    prior, level, x = network(), EDM().level(0.01), noise("z", 400)
    y = 0.1 * noise("y", 400)
    found = PiGDM()(prior, Gaussian(Clip(-50.0, 50.0, 3.0), y, 0.5))(x, level).mean
    linear = PiGDM()(prior, Gaussian(3.0 * MASK_OF_ALL, y, 0.5))(x, level).mean
    plain = prior(x, level).mean.detach()
    # τ² is estimated from 16 numbers: a few tenths off
    assert float((found - linear).norm() / (linear - plain).norm()) < 0.35


@dataclass(frozen=True)
class Case:
    rule: object
    likelihood: str


RULES = {
    "PiGDM": Case(PiGDM(), "gaussian"),
    "PiGDM, no Jacobian": Case(PiGDM(jacobian=False), "gaussian"),
    "MMPS": Case(MMPS(), "each its noise"),
    "TMPD": Case(TMPD(), "gaussian"),
    "DPS": Case(DPS(), "gaussian"),
    "plug-in": Case(PlugIn(), "classifier"),
    "score-ALD": Case(ScoreALD(), "gaussian"),
    "proximal": Case(Proximal(), "poisson"),
    "DiffPIR": Case(DiffPIR(), "gaussian"),
}


@pytest.mark.parametrize("name", RULES)
def test_conditions_and_classifier_free_guidance_nest_either_way(name):
    rule, likelihood = RULES[name].rule, LIKELIHOODS[RULES[name].likelihood]
    level, x = EDM().level(0.01), noise("z")
    with_label, without = network().given(label=LABELS), network().given(label=torch.tensor([2, 2, 0]))
    inside = rule(guided(with_label, without, 2.5), likelihood)(x, level).mean
    outside = guided(rule(with_label, likelihood), rule(without, likelihood), 2.5)(x, level).mean
    assert torch.isfinite(inside).all()
    assert torch.isfinite(outside).all()
    bound = rule(network(), likelihood).given(label=LABELS)(x, level).mean
    assert torch.equal(bound, rule(with_label, likelihood)(x, level).mean)
    again = guided(rule(network(), likelihood), rule(without, likelihood), 2.5).given(label=LABELS)(x, level).mean
    assert torch.equal(again, outside)


@pytest.mark.parametrize("name", RULES)
def test_rows_are_those_samples_and_clean_data_are_left_alone(name):
    rule, likelihood = RULES[name].rule, LIKELIHOODS[RULES[name].likelihood]
    posterior = rule(network().given(label=LABELS), likelihood)
    x, level, index = noise("z"), EDM().level(0.01), torch.tensor([2, 0])
    some = posterior.rows(index)(x[index], level).mean
    assert torch.allclose(some, posterior(x, level).mean[index], rtol=0, atol=1e-10)
    assert torch.equal(posterior(x, CLEAN).mean, network().given(label=LABELS)(x, CLEAN).mean)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_every_grad_mode_gives_the_same_and_keeps_no_graph(name, mode):
    rule, likelihood = RULES[name].rule, LIKELIHOODS[RULES[name].likelihood]
    expected = rule(network(), likelihood)(noise("z"), EDM().level(0.01)).mean
    with mode():
        found = rule(network(), likelihood)(noise("z"), EDM().level(0.01)).mean
    assert torch.equal(found, expected)
    assert not found.requires_grad


@pytest.mark.parametrize("name", [*RULES])
def test_the_end_where_nothing_of_the_data_is_left(name):
    """α = 0: for the batch, or for one sample of it."""
    rule, likelihood = RULES[name].rule, LIKELIHOODS[RULES[name].likelihood]
    posterior = rule(network(Straight(), FlowPrediction(0.5)), likelihood)
    x = noise("z")
    whole = posterior(x, 1.0).mean
    mixed = posterior(x, torch.tensor([1.0, 0.5, 0.7], dtype=F64)).mean
    assert torch.isfinite(whole).all()
    assert torch.isfinite(mixed).all()
    assert torch.allclose(mixed[0], whole[0], rtol=0, atol=1e-8)
    half = posterior(x, Level(0.5, 0.5, 0.5)).mean
    assert torch.allclose(mixed[1], half[1], rtol=0, atol=1e-8)


def test_what_has_no_answer_is_refused():
    y = noise("y")
    with pytest.raises(UserError, match="free of noise has no density"):
        PlugIn()(network(), Gaussian(MASK, y, 0.0))
    with pytest.raises(UserError, match="score-ALD needs a linear operator"):
        ScoreALD()(network(), Gaussian(Clip(-1.0, 1.0), y, 0.1))
    with pytest.raises(UserError, match="PiGDM is for Gaussian noise, and this likelihood is Poisson"):
        PiGDM()(network(), LIKELIHOODS["poisson"])
    for make, words in (
        (lambda: PlugIn(-1.0), "the weight and the widening"),
        (lambda: DPS(float("inf")), "the scale of DPS"),
        (lambda: ScoreALD(0.0), "above 0"),
        (lambda: DiffPIR(0.0), "λ above 0"),
        (lambda: Proximal(0), "at least one iteration"),
    ):
        with pytest.raises(UserError, match=words):
            make()
