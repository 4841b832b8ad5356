"""Reference endpoints against closed forms and an independent integrator."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pushforward.denoisers import Mixture, MixtureDenoiser, reference_flow
from pushforward.denoisers.reference import level_at
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, CosineVP, Straight, SubVP, Table, linear_betas

MEANS = torch.tensor([[0.7, 0.0], [-0.5, 0.4]], dtype=torch.float64)


@pytest.mark.parametrize(
    "path",
    [VP(), SubVP(), EDM(), CosineVP(), Straight(t_max=0.999), Table.of_betas(linear_betas(100))],
    ids=lambda p: type(p).__name__,
)
def test_gaussian_data_in_closed_form_there_and_back(path):
    """x_0 = m + s (x_1 − α_1 m)/√(α_1²s² + σ_1²)."""
    variances = torch.tensor([[0.25, 4e-4]], dtype=torch.float64)
    mixture = Mixture.of_covariances(torch.ones(1).double(), MEANS[:1], variances)
    denoiser, level = MixtureDenoiser(mixture, path), path.level(path.t_max)
    start = path.prior(Draws.of(0, range(8)).normal((2,), torch.float64))
    end = reference_flow(denoiser, start, level)
    size = (level.alpha**2 * variances + level.sigma**2).sqrt()
    expected = MEANS[:1] + variances.sqrt() * (start - level.alpha * MEANS[:1]) / size
    assert float((end - expected).abs().max()) < 2e-7
    middle = path.level(0.5 * path.t_max)
    there = reference_flow(denoiser, start, level, middle)
    back = reference_flow(denoiser, there, middle, level)
    assert float((back - start).abs().max()) < 2e-6 * (1 + level.ratio)


def test_a_mixture_against_another_integrator_and_each_sample_alone():
    path = EDM()
    weights, variances = torch.tensor([0.4, 0.6]).double(), torch.tensor([0.02, 0.1]).double()
    denoiser = MixtureDenoiser(Mixture.of_covariances(weights, MEANS, variances), path)
    start = path.prior(Draws.of(3, range(4)).normal((2,), torch.float64))
    end = reference_flow(denoiser, start, 1.0, path.level(path.t_min))

    def slope(tau, y):
        sigma = math.exp(tau)
        state = torch.from_numpy(y.reshape(4, 2))
        return sigma * denoiser(state, sigma / 80).noise.numpy().ravel()

    other = solve_ivp(slope, (math.log(80), math.log(0.002)), start.numpy().ravel(), "DOP853", rtol=1e-11, atol=1e-12)
    assert np.abs(other.y[:, -1] - end.numpy().ravel()).max() < 1e-6
    alone = torch.cat([reference_flow(denoiser, start[i : i + 1], 1.0, path.level(path.t_min)) for i in range(4)])
    assert float((alone - end).abs().max()) < 1e-12


def test_levels_beyond_the_ends_keep_the_scale_of_the_end():
    path = EDM()
    below = level_at(path, math.log(1e-5))
    assert (below.alpha, below.t) == (1.0, path.t_min)
    assert below.sigma == pytest.approx(1e-5)
    assert level_at(path, torch.tensor([0.0, 1.0])).sigma.tolist() == pytest.approx([1.0, math.e])


def test_what_the_reference_refuses():
    denoiser = MixtureDenoiser(Mixture.of_points(MEANS), Straight())
    with pytest.raises(UserError, match="α > 0"):
        reference_flow(denoiser, MEANS, 1.0)
