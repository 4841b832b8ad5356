"""What was measured: y = A x + σ n."""

from __future__ import annotations

from pushforward.inverse.likelihoods.gaussian import Gaussian

Observation = Gaussian
"""The measurement that most solvers know, under the name by which they ask for it."""
