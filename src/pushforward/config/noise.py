"""Noise of unknown level in an operator file: the law that σ is given, and the method that draws it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from pushforward.config.operator_schema import NoiseSection
from pushforward.errors import UserError
from pushforward.inverse import Gaussian, Likelihood, Method
from pushforward.posterior import CrowdMethod, SplitGibbs, UnknownNoise

ESTIMATING = "exact"
"""The name of the method that draws the noise level with the items."""


def noise_law(noise: NoiseSection, likelihood: Likelihood | None = None) -> UnknownNoise | None:
    """The law of σ around the section's guess, or the likelihood's, in the measurement's units; None where it is known.

    The likelihood's differs where something else counts as noise, too.
    """
    if not noise.unknown:
        return None
    guess = likelihood.sigma if isinstance(likelihood, Gaussian) else noise.sigma
    return UnknownNoise.around(float(torch.as_tensor(guess).max()), math.log2(noise.within))


def estimating(method: Method | CrowdMethod, law: UnknownNoise | None) -> Method | CrowdMethod:
    """The method, drawing σ by its law as well. Raises UserError for methods that take σ as it is."""
    if law is None:
        return method
    if not isinstance(method, SplitGibbs):
        raise UserError(
            f"the operator file says that the noise level is known within a factor alone (within), and only the method "
            f"{ESTIMATING} estimates it: take --method {ESTIMATING}, or leave `within` out"
        )
    return replace(method, noise=law)
