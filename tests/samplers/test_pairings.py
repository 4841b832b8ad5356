"""Every Denoiser × Step × path × grid runs, finite and with the moments of the data, or is refused with a reason."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from pushforward.denoisers import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    NetworkDenoiser,
    NoisePrediction,
    ScorePrediction,
    VPrediction,
)
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import (
    EDM,
    VE,
    VP,
    CosineVP,
    DDIMStrided,
    Karras,
    Quadratic,
    Straight,
    SubVP,
    Table,
    Uniform,
    UniformLogSNR,
    cosine_betas,
    linear_betas,
    ncsn_ladder,
    zero_terminal_snr,
)
from pushforward.samplers import (
    DDIM,
    DDPM,
    AdaptiveDPMSolver,
    Ancestral,
    AnnealedLangevin,
    BalancedMultistep,
    BalancedQuantity,
    Churn,
    DPMSolver3S,
    DPMSolverPP2M,
    DPMSolverPP2S,
    EulerMaruyama,
    FixedStep,
    FlowEuler,
    FlowHeun,
    FlowMidpoint,
    Heun,
    Langevin,
    Multistep,
    NoiseQuantity,
    Project,
    Repeat,
    Restart,
    ReverseDiffusion,
    SDEDPMSolverPP1,
    SDEDPMSolverPP2M,
    ShiftedLogGrid,
    Then,
    UniPC,
    analytic,
    fixed_large,
    simulate,
)

MEAN, VARIANCE, BATCH, STEPS = 0.3, 0.25, 1500, 40

PATHS = {
    "VP": VP(),
    "cosine": CosineVP(),
    "sub-VP": SubVP(),
    "VE": VE(),
    "EDM": EDM(),
    "straight": Straight(),
    "DDPM table": Table.of_betas(linear_betas()),
    "cosine table": Table.of_betas(cosine_betas()),
    "zero terminal SNR": Table.of_betas(zero_terminal_snr(linear_betas())),
    "NCSN ladder": Table.of_sigmas(ncsn_ladder()),
}
GRIDS = {
    "uniform": Uniform(),
    "quadratic": Quadratic(),
    "log-SNR": UniformLogSNR(),
    "Karras": Karras(),
    "strided": DDIMStrided(),
    "shifted log": ShiftedLogGrid(5.0),
    "to t_min": UniformLogSNR(to_clean=False),
}


def unchanged(x: Tensor, level: object, draws: Draws) -> Tensor:
    return x


DETERMINISTIC = {
    "DDIM": DDIM,
    "++2M": DPMSolverPP2M,
    "++3M": Multistep(3),
    "noise 2M": Multistep(2, NoiseQuantity()),
    "balanced 4": Multistep(4, BalancedQuantity()),
    "default": BalancedMultistep(),
    "Heun": Heun(),
    "++2S": DPMSolverPP2S,
    "3S": DPMSolver3S,
    "adaptive": AdaptiveDPMSolver(2, rtol=0.1),
    "UniPC": UniPC(3),
    "flow Euler": FlowEuler,
    "flow midpoint": FlowMidpoint,
    "flow Heun": FlowHeun,
    "project": Project(DDIM, unchanged),
}
STOCHASTIC = {
    "DDPM": DDPM,
    "fixed large": Ancestral(1.0, fixed_large),
    "analytic": Ancestral(1.0, analytic),
    "Analytic-DDIM": Ancestral(0.0, analytic),
    "Maruyama": EulerMaruyama(),
    "reverse diffusion": ReverseDiffusion(),
    "SDE ++1": SDEDPMSolverPP1,
    "SDE ++2M": SDEDPMSolverPP2M,
    "churn": Heun(Churn(10.0)),
    "predictor-corrector": Then(DDPM, Langevin(FixedStep(0.1))),
    "repeat": Repeat(DDPM, 2),
    "restart": Restart(DPMSolverPP2M, low=0.1, high=1.0),
}
OTHER = {"Langevin": Langevin(FixedStep(0.1)), "annealed": AnnealedLangevin(1e-9, 2)}
STEP = {**DETERMINISTIC, **STOCHASTIC, **OTHER}
REASONS = {
    "α = 0": ("straight", "zero terminal SNR"),
    "α > 0": ("straight", "zero terminal SNR"),
    "stays at its noise level": PATHS,
    "use more steps or a higher restart": ("EDM",),
}
"""Words of a refusal -> the paths on which it may be given."""

VARIANCE_ERROR = {
    "DDIM": 0.25,
    "project": 0.25,
    "flow Euler": 0.75,
    "flow midpoint": 0.2,  # a step in t of VE multiplies σ by 1.24 here
    "flow Heun": 0.2,
    "Heun": 0.15,
    "analytic": 0.1,
    "Analytic-DDIM": 0.1,
    "SDE ++2M": 0.2,
    **dict.fromkeys(("DDPM", "fixed large", "Maruyama", "reverse diffusion", "SDE ++1", "repeat"), 0.5),
    **dict.fromkeys(("predictor-corrector", "churn", "restart"), 0.35),
}
"""How far the variance may be from the data's after 40 steps: less than 0.1 but for rules of first order."""


class Exact(nn.Module):
    """What a perfect network trained on N(MEAN, VARIANCE) returns: F = a E[x_0 | x] + b E[z | x]."""

    def __init__(self, path: object, prediction: object) -> None:
        super().__init__()
        self.path, self.prediction, self.level = path, prediction, None

    def forward(self, scaled: Tensor, time: Tensor) -> Tensor:
        level = self.level
        x = scaled / self.prediction.input_scale(level)
        total = level.alpha**2 * VARIANCE + level.sigma**2
        mean = MEAN + level.alpha * VARIANCE / total * (x - level.alpha * MEAN)
        noise = level.sigma / total * (x - level.alpha * MEAN)
        a, b = self.prediction.target_scales(level)
        return a * mean + b * noise


class Network(NetworkDenoiser):
    """Hands the level itself to the module, for the test's closed form."""

    def estimate(self, x, level):
        self.network.level = level
        return super().estimate(x, level)


def network(path: object, prediction: object) -> Network:
    return Network(path, Exact(path, prediction), prediction)


def run(denoiser, step, path, grid, steps=STEPS, batch=BATCH):
    """The sample, or the reason of a refusal."""
    draws = Draws.of(1, range(batch), "pairing")
    top = path.level(path.t_max)
    z = draws.at("start").normal((1,), torch.float64)
    x = top.alpha * MEAN + (top.alpha**2 * VARIANCE + top.sigma**2) ** 0.5 * z
    try:
        return simulate(denoiser, step, x, grid(path, steps), draws), None
    except UserError as error:
        return None, str(error)


def check_refusal(reason: str, path_name: str) -> None:
    known = [paths for words, paths in REASONS.items() if words in reason]
    assert known, f"refused for a reason that is not in the table: {reason}"
    assert path_name in known[0], reason


@pytest.mark.parametrize("path_name", PATHS)
@pytest.mark.parametrize("step_name", STEP)
def test_every_step_on_every_path_and_grid(step_name, path_name, gaussian):
    path, step = PATHS[path_name], STEP[step_name]
    for grid_name, grid in GRIDS.items():
        if grid_name == "strided" and path_name == "NCSN ladder":
            grid = DDIMStrided(len(path))
        x, reason = run(gaussian(path, MEAN, VARIANCE), step, path, grid, steps=12, batch=16)
        if reason:
            check_refusal(reason, path_name)
        else:
            assert torch.isfinite(x).all(), grid_name
            assert x.dtype == torch.float64


@pytest.mark.parametrize("path_name", PATHS)
@pytest.mark.parametrize("step_name", [*DETERMINISTIC, *STOCHASTIC])
def test_the_moments_of_gaussian_data_come_out(step_name, path_name, gaussian):
    path, step = PATHS[path_name], STEP[step_name]
    x, reason = run(gaussian(path, MEAN, VARIANCE), step, path, UniformLogSNR())
    if reason:
        check_refusal(reason, path_name)
        return
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.1)
    assert float(x.var()) == pytest.approx(VARIANCE, rel=VARIANCE_ERROR.get(step_name, 0.1))


PREDICTIONS = [NoisePrediction, DataPrediction, VPrediction, ScorePrediction, FlowPrediction, EDMPrediction]


@pytest.mark.parametrize(("path_name", "prediction"), list(itertools.product(PATHS, PREDICTIONS)))
def test_every_prediction_with_every_step_equals_the_oracle(path_name, prediction, gaussian):
    """A network that predicts perfectly, in any of the six ways, is sampled as the exact denoiser is."""
    path = PATHS[path_name]
    denoiser, oracle = network(path, prediction(0.5)), gaussian(path, MEAN, VARIANCE)
    for step_name, step in STEP.items():
        if "nalytic" in step_name or step_name in OTHER or step_name == "adaptive":
            continue  # they need Var[x_0 | x_t], or levels per sample, which this network's closed form does not give
        x, reason = run(denoiser, step, path, Uniform(), steps=8, batch=8)
        if reason:
            check_refusal(reason, path_name)
            continue
        truth, _ = run(oracle, step, path, Uniform(), steps=8, batch=8)
        assert truth is not None
        assert torch.allclose(x, truth, rtol=1e-5, atol=1e-5), step_name


def test_the_table_of_refusals_is_used():
    """Each reason really occurs, so that the table cannot hide a refusal that was lifted or reworded."""
    path = Straight()
    levels = Uniform()(path, 4)
    for name, words in (("Maruyama", "α = 0"), ("adaptive", "α > 0"), ("Langevin", "stays at its noise level")):
        with pytest.raises(UserError, match=words):
            STEP[name].plan(path, levels)
