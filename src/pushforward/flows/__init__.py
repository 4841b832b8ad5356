"""Bijections: maps with an inverse and a log-determinant."""

from pushforward.flows.bijection import Bijection, Inverse
from pushforward.flows.continuous import AdaptiveFlow, Continuous, Flowed

__all__ = ["AdaptiveFlow", "Bijection", "Continuous", "Flowed", "Inverse"]
