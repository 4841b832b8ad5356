"""Samplers: frozen rules that move a state from one level to the next, and the loop that runs them."""

from pushforward.samplers.ancestral import DDIM, DDPM, Ancestral, analytic, fixed_large, fixed_small
from pushforward.samplers.multistep import (
    BalancedQuantity,
    DataQuantity,
    DPMSolverPP2M,
    DPMSolverPP3M,
    Multistep,
    NoiseQuantity,
)
from pushforward.samplers.runge_kutta import Churn, Heun
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

__all__ = [
    "DDIM",
    "DDPM",
    "Ancestral",
    "BalancedQuantity",
    "Churn",
    "DPMSolverPP2M",
    "DPMSolverPP3M",
    "DataQuantity",
    "Heun",
    "Multistep",
    "NoiseQuantity",
    "Progress",
    "Step",
    "analytic",
    "denoised",
    "encode",
    "evaluations",
    "fixed_large",
    "fixed_small",
    "half_denoised",
    "simulate",
    "steps_for",
    "upwards",
]
