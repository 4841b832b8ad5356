"""Every Denoiser × Step × path × grid runs, finite and with the moments of the data, or is refused with a reason."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from pushforward.denoisers import (
    DataPrediction,
    EDMPrediction,
    EmpiricalDenoiser,
    FlowPrediction,
    GuidanceInterval,
    LearnedVariance,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
    NoisePrediction,
    PriorVariance,
    ScorePrediction,
    VarianceTable,
    VPrediction,
    WithVariance,
    classifier_guided,
    clipped,
    dynamically_thresholded,
    guided,
)
from pushforward.errors import UserError
from pushforward.numerics.broadcast import expand
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


class Labelled(nn.Module):
    """F of EDM for N(label, VARIANCE), and v = 1: all of the variance of Gaussian data."""

    def forward(self, scaled: Tensor, time: Tensor, label: Tensor) -> Tensor:
        ratio = expand(torch.exp(4 * time.double()), scaled)
        sd = VARIANCE**0.5
        output = expand(label, scaled) / (sd * (1 + (sd / ratio) ** 2) ** 0.5)  # F of x_0 = label, the rest cancels
        return torch.cat((output, torch.ones_like(output)), 1)


def likelier(x: Tensor, level: object) -> Tensor:
    """log N(x_t; α·1.5, ·) − log N(x_t; α·0.5, ·) for data of VARIANCE, but for what does not depend on x."""
    total = level.alpha**2 * VARIANCE + level.sigma**2
    return (expand(level.alpha / total, x) * x).sum(1)


def exact_variances() -> VarianceTable:
    """VARIANCE σ²/(α² VARIANCE + σ²), on so many λ that what is between them does not matter."""
    nodes = tuple(k / 50 for k in range(-500, 501))
    squares = [math.exp(2 * node) for node in nodes]
    return VarianceTable(nodes, tuple(VARIANCE * (1 + r) / (1 + VARIANCE * r) for r in squares))


def labelled(path: object) -> LearnedVariance:
    prediction = EDMPrediction(VARIANCE**0.5)
    base = NetworkDenoiser(path, Labelled(), prediction, accepts=("label",))
    return LearnedVariance(base, PriorVariance(VARIANCE**0.5)).given(label=torch.full((8,), MEAN))


NOWHERE = GuidanceInterval(1e8, 1e9)
POINTS = torch.tensor([[-0.4], [0.1], [1.2]], dtype=torch.float64)
KINDS = {
    "clipped": lambda path, of: (clipped(of(MEAN), -1e6, 1e6), of(MEAN)),
    "thresholded": lambda path, of: (dynamically_thresholded(of(MEAN), 1.0, -1e6, 1e6), of(MEAN)),
    "with a variance": lambda path, of: (WithVariance(of(MEAN), exact_variances()), of(MEAN)),
    "guided": lambda path, of: (guided(of(MEAN), of(MEAN - 0.2), 2.5), of(MEAN + 0.3)),
    "guided nowhere": lambda path, of: (guided(of(MEAN), of(-5.0), 3.0, NOWHERE), of(MEAN)),
    "by a classifier": lambda path, of: (classifier_guided(of(MEAN), likelier, 0.4), of(MEAN + 0.4)),
    "by a classifier nowhere": lambda path, of: (classifier_guided(of(MEAN), likelier, 9.0, NOWHERE), of(MEAN)),
    "of points": lambda path, of: (
        EmpiricalDenoiser(POINTS, path),
        MixtureDenoiser(Mixture.of_points(POINTS), path),
    ),
    "given, with a learned variance": lambda path, of: (labelled(path), of(MEAN)),
}
"""(path, mean -> exact denoiser of N(mean, VARIANCE)) -> a denoiser of each kind, and the exact one it must equal."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path_name", ["VP", "EDM", "straight"])
def test_every_kind_of_denoiser_with_every_step_equals_the_exact_one(path_name, kind, gaussian):
    """Wrappers, guidance, conditions and data sets, with rules that use the variance too."""
    path = PATHS[path_name]
    if kind == "by a classifier" and path.level(path.t_max).alpha == 0:
        pytest.skip("from α = 0 the first step is not guided")
    denoiser, truth = KINDS[kind](path, lambda mean: gaussian(path, mean, VARIANCE))
    ran = 0
    for step_name, step in STEP.items():
        if step_name == "adaptive" and "of points" in kind:
            continue  # its tolerance lets rounding choose the steps
        x, reason = run(denoiser, step, path, UniformLogSNR(), steps=5, batch=8)
        if reason:
            check_refusal(reason, path_name)
            continue
        expected, _ = run(truth, step, path, UniformLogSNR(), steps=5, batch=8)
        assert torch.allclose(x, expected, rtol=1e-4, atol=1e-4), step_name
        ran += 1
    assert ran >= 15


def test_the_table_of_refusals_is_used():
    """Each reason really occurs, so that the table cannot hide a refusal that was lifted or reworded."""
    path = Straight()
    levels = Uniform()(path, 4)
    for name, words in (("Maruyama", "α = 0"), ("adaptive", "α > 0"), ("Langevin", "stays at its noise level")):
        with pytest.raises(UserError, match=words):
            STEP[name].plan(path, levels)
