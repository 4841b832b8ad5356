"""Samplers: frozen rules that move a state from one level to the next, and the loop that runs them."""

from pushforward.samplers.adaptive import ON_MEAN, ON_NOISE, Adapted, AdaptiveDPMSolver, sample_adaptively
from pushforward.samplers.ancestral import DDIM, DDPM, Ancestral, analytic, fixed_large, fixed_small
from pushforward.samplers.balanced import BalancedMultistep, ShiftedLogGrid
from pushforward.samplers.combinators import Project, Repeat, Then
from pushforward.samplers.default import Sampler, Sampling, default_sampler, deviation
from pushforward.samplers.flow import FlowEuler, FlowHeun, FlowMidpoint, FlowRungeKutta
from pushforward.samplers.langevin import AnnealedLangevin, FixedStep, Langevin, SignalToNoise
from pushforward.samplers.maruyama import EulerMaruyama
from pushforward.samplers.multistep import (
    BalancedQuantity,
    DataQuantity,
    DPMSolverPP2M,
    DPMSolverPP3M,
    Multistep,
    NoiseQuantity,
    RenewedQuantity,
    SDEDPMSolverPP1,
    SDEDPMSolverPP2M,
    interpolation_weights,
    published_weights,
)
from pushforward.samplers.predictors import AncestralPredictorVE, AncestralPredictorVP, ReverseDiffusion
from pushforward.samplers.restart import Restart
from pushforward.samplers.runge_kutta import Churn, Heun
from pushforward.samplers.single_step import (
    DPMSolver2S,
    DPMSolver3S,
    DPMSolverPP2S,
    DPMSolverPP3S,
    SingleStep,
    published_orders,
)
from pushforward.samplers.step import (
    Progress,
    Step,
    denoised,
    encode,
    evaluations,
    half_denoised,
    simulate,
    steps_for,
    upwards,
)
from pushforward.samplers.trajectory import OptimalGrid, cheapest_chain, jump_costs, optimal_trajectory
from pushforward.samplers.tuned import Tuned
from pushforward.samplers.tuning import Effort, TuningResult, tune
from pushforward.samplers.unipc import UniPC, exponential, linear
from pushforward.samplers.whole import AdaptiveSampler, FlowSampler

__all__ = [
    "DDIM",
    "DDPM",
    "ON_MEAN",
    "ON_NOISE",
    "Adapted",
    "AdaptiveDPMSolver",
    "AdaptiveSampler",
    "Ancestral",
    "AncestralPredictorVE",
    "AncestralPredictorVP",
    "AnnealedLangevin",
    "BalancedMultistep",
    "BalancedQuantity",
    "Churn",
    "DPMSolver2S",
    "DPMSolver3S",
    "DPMSolverPP2M",
    "DPMSolverPP2S",
    "DPMSolverPP3M",
    "DPMSolverPP3S",
    "DataQuantity",
    "Effort",
    "EulerMaruyama",
    "FixedStep",
    "FlowEuler",
    "FlowHeun",
    "FlowMidpoint",
    "FlowRungeKutta",
    "FlowSampler",
    "Heun",
    "Langevin",
    "Multistep",
    "NoiseQuantity",
    "OptimalGrid",
    "Progress",
    "Project",
    "RenewedQuantity",
    "Repeat",
    "Restart",
    "ReverseDiffusion",
    "SDEDPMSolverPP1",
    "SDEDPMSolverPP2M",
    "Sampler",
    "Sampling",
    "ShiftedLogGrid",
    "SignalToNoise",
    "SingleStep",
    "Step",
    "Then",
    "Tuned",
    "TuningResult",
    "UniPC",
    "analytic",
    "cheapest_chain",
    "default_sampler",
    "denoised",
    "deviation",
    "encode",
    "evaluations",
    "exponential",
    "fixed_large",
    "fixed_small",
    "half_denoised",
    "interpolation_weights",
    "jump_costs",
    "linear",
    "optimal_trajectory",
    "published_orders",
    "published_weights",
    "sample_adaptively",
    "simulate",
    "steps_for",
    "tune",
    "upwards",
]
