"""The gradient of an energy is its denoiser's score, on every path, for every prediction, wherever it is asked for."""

from __future__ import annotations

import pytest
import torch
from tests.energy.worlds import PATH, mixture

from pushforward.denoisers import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    MixtureDenoiser,
    NoisePrediction,
    ScorePrediction,
    VarianceTable,
    VPrediction,
    WithVariance,
)
from pushforward.energy import MALA, EnergyDenoiser, Metropolis, energy_of
from pushforward.errors import UserError
from pushforward.networks.energy import Fading, Gradient, InnerProduct, vector_potential
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, CosineVP, Karras, Straight
from pushforward.samplers import DDIM, Then, default_sampler, simulate
from pushforward.samplers.step import Progress


def trained_looking(num_classes=None, dtype=torch.float64):
    """A potential whose output layer is not zero any more."""
    torch.manual_seed(0)
    potential = vector_potential(3, 16, 2, num_classes)
    potential.potential.network.output.weight.data.normal_(0, 0.3)
    return Gradient(potential).to(dtype)


PREDICTIONS = [EDMPrediction, NoisePrediction, ScorePrediction, DataPrediction, VPrediction, FlowPrediction]


@pytest.mark.parametrize("path", [EDM(), VP(), CosineVP(), Straight()], ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda kind: kind.__name__)
def test_the_score_is_minus_the_gradient_of_the_energy(path, prediction):
    denoiser = EnergyDenoiser(path, trained_looking(), prediction(0.7))
    x = Draws.of(0, range(4)).normal((3,), torch.float64)
    for level in (path.level(0.1), path.level(torch.tensor([0.05, 0.2, 0.5, 0.8]))):
        at = x.clone().requires_grad_()
        slope = torch.autograd.grad(denoiser.energy(at, level).sum(), at)[0]
        score = denoiser.estimate(x, level).score.detach()
        assert torch.allclose(-slope, score, rtol=1e-5, atol=1e-5 * float(score.abs().max()))
        point = denoiser.point(x, level)
        assert torch.allclose(point.score, -slope) and torch.allclose(point.value, -denoiser.energy(x, level))


def test_the_energy_of_data_without_structure_is_the_gaussian():
    """Φ = 0 is the exact potential of N(0, σ_d²)."""
    denoiser = EnergyDenoiser(PATH, Gradient(vector_potential(2)), EDMPrediction(0.5))
    x, level = torch.tensor([[1.0, -2.0]]), PATH.level(0.1)
    assert denoiser.energy(x, level).item() == pytest.approx(2.5 / (0.25 + level.sigma**2))


def test_it_is_found_in_inference_mode_with_conditions_and_through_wrappers():
    denoiser = EnergyDenoiser(PATH, trained_looking(4), EDMPrediction(0.5), accepts=("label",))
    table = VarianceTable((0.0,), (0.5,))
    x, level = torch.zeros(2, 3, dtype=torch.float64) + 0.3, PATH.level(0.1)
    wanted = denoiser.given(label=torch.tensor([1, 2])).estimate(x, level).score.detach()
    with torch.inference_mode():
        labels = torch.arange(1, 3)
        bound = WithVariance(denoiser, table).given(label=labels)
        found = energy_of(bound)
        assert torch.allclose(found.estimate(x * 1, level).score, wanted)
        assert torch.allclose(found.point(x * 1, level).score, wanted)
    assert not torch.allclose(wanted[0], wanted[1])
    assert not denoiser.rows(torch.tensor([0])).conditions


def test_training_differentiates_the_gradient():
    network = trained_looking()
    x = torch.ones(2, 3, dtype=torch.float64)
    field = network(x, torch.zeros(2))
    field.square().sum().backward()
    assert all(p.grad is not None for p in network.potential.potential.network.blocks.parameters())
    step, weight = 1e-6, network.potential.potential.network.output.weight
    slope = weight.grad[0, 0].item()
    with torch.no_grad():
        before = network(x, torch.zeros(2)).square().sum()
        weight[0, 0] += step
        after = network(x, torch.zeros(2)).square().sum()
    assert not before.requires_grad
    assert float(after - before) / step == pytest.approx(slope, rel=1e-3)


def test_a_potential_fades_with_the_noise_below_its_knee():
    torch.manual_seed(0)
    inner = InnerProduct(Same())
    x, ratio = torch.ones(3, 2), torch.tensor([1e-3, 0.3, 1e3])
    faded = Fading(inner, 0.3)(x, 0.25 * ratio.log()) / inner(x, ratio)
    assert torch.allclose(faded, torch.tensor([1e-3 / 0.3, 0.5**0.5, 1.0]), rtol=1e-4)
    assert torch.equal(Fading(inner, 0.0)(x, 0.25 * ratio.log()), inner(x, ratio))
    with pytest.raises(UserError, match="knee"):
        Fading(inner, -1.0)


def test_a_network_of_another_shape_is_no_potential():
    with pytest.raises(UserError, match="shape of its input"):
        InnerProduct(Same(1))(torch.ones(2, 3), torch.zeros(2))


class Same(torch.nn.Module):
    """The first so many coordinates."""

    def __init__(self, keep=2):
        super().__init__()
        self.keep = keep

    def forward(self, x, time):
        return x[:, : self.keep]


class Exact(EnergyDenoiser):
    """The energies of a mixture in the place of a network's."""

    def energy(self, x, level):
        return -MixtureDenoiser(mixture(2), PATH).log_prob(x, level)

    def estimate(self, x, level):
        return MixtureDenoiser(mixture(2), PATH).estimate(x, level)


def exact():
    return Exact(PATH, Gradient(vector_potential(2)), EDMPrediction(1.0))


def test_the_metropolis_corrector_leaves_each_level_where_it_is():
    """Started from exact samples of p(x | σ) the moments stay; the step is far beyond what Langevin could take."""
    world, level, draws = mixture(2), PATH.level(0.05), Draws.of(0, range(6000))
    x = world.sample(draws.at("x")) + level.sigma * draws.at("z").normal((2,), torch.float64)
    step = Metropolis(MALA(0.8), moves=3)
    (move,) = step.plan(PATH, (level, level))
    assert move.evaluations == 4
    for i in range(4):
        x, _ = step(exact(), x, move, None, draws.at(i))
    wanted = world.covariance() + level.sigma**2 * torch.eye(2, dtype=torch.float64)
    assert torch.allclose(torch.cov(x.T), wanted, rtol=0.1, atol=0.1)
    assert ((x.mean(0) - world.mean()).abs() < 4 * (wanted.diagonal() / 6000).sqrt()).all()


def test_it_corrects_any_predictor_and_may_be_watched():
    seen: list[Progress] = []
    draws = Draws.of(1, range(2000))
    levels = Karras(to_clean=False)(PATH, 12)
    start = PATH.prior(draws.at("prior").normal((2,), torch.float64))
    step = Then(DDIM, Metropolis.of_dim(2))
    x = simulate(exact(), step, start, levels, draws, observe=seen.append)
    assert len(seen) == 12
    assert torch.allclose(torch.cov(x.T), mixture(2).covariance(), atol=0.2)


def test_any_sampler_runs_on_an_energy():
    network = trained_looking(dtype=torch.float32)
    denoiser = EnergyDenoiser(PATH, network, EDMPrediction(0.5))
    start = PATH.prior(Draws.of(0, range(3)).normal((3,)))
    with torch.inference_mode():
        x = default_sampler(PATH, 10, 0.5).sample(denoiser, start, 10, Draws.of(0, range(3)))
    assert x.shape == (3, 3) and x.isfinite().all()


def test_scores_without_an_energy_and_corrections_that_move_are_refused():
    with pytest.raises(UserError, match="has only a score"):
        energy_of(MixtureDenoiser(mixture(2), PATH))
    with pytest.raises(UserError, match="stays at its noise level"):
        Metropolis(MALA(0.1)).plan(PATH, PATH.levels([0.5, 0.1]))
    with pytest.raises(UserError, match="at least one move"):
        Metropolis(MALA(0.1), 0)
