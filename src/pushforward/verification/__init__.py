"""The identities of the tutorial as checks that run: `pushforward verify`, or here `[check() for check in CHECKS]`.

Each topic is a file with a tuple `CHECKS`. To add some, add to a tuple, or a file and its name to `TOPICS`.
"""

from __future__ import annotations

from types import ModuleType

from pushforward.verification import (
    adversarial,
    ancestral,
    autoencoders,
    bound,
    brain,
    card,
    change_of_variables,
    combinatorial,
    discrete,
    energy,
    estimates,
    forward,
    guidance,
    inverse,
    langevin,
    latent,
    likelihood,
    misprints,
    plugplay,
    posterior,
    processes,
    restoration,
    score_matching,
    solvers,
)
from pushforward.verification.check import Check, Finding, Row

TOPICS: tuple[ModuleType, ...] = (
    adversarial,
    change_of_variables,
    likelihood,
    forward,
    autoencoders,
    bound,
    estimates,
    score_matching,
    langevin,
    energy,
    processes,
    ancestral,
    solvers,
    guidance,
    latent,
    brain,
    inverse,
    restoration,
    posterior,
    card,
    discrete,
    plugplay,
    combinatorial,
    misprints,
)
CHECKS: tuple[Check, ...] = tuple(
    sorted((check for topic in TOPICS for check in topic.CHECKS), key=lambda check: check.tutorial)
)
"""All checks, by section of the tutorial."""

__all__ = ["CHECKS", "TOPICS", "Check", "Finding", "Row"]
