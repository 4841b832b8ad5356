"""The two exact targets of the accuracy benchmarks, with their parameters beside this file.

`aniso8`: 8 modes in 8 dimensions, standard deviations 0.02 … 0.2 in each, data in about [−1, 1].
`lowrank64`: 16 modes of rank 4 (deviations about 1) plus 0.02 in all directions, in 64 dimensions.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from pushforward.denoisers import Mixture

NAMES = ("aniso8", "lowrank64")


def target(name: str) -> Mixture:
    """The mixture of that name, float64."""
    with np.load(Path(__file__).with_name("targets") / f"{name}.npz") as stored:
        return Mixture(**{f.name: torch.from_numpy(stored[f.name]) for f in fields(Mixture)})


def sigma_data(mixture: Mixture) -> float:
    """The standard deviation of a coordinate, averaged over coordinates: what a user would measure and store."""
    return float(mixture.covariance().diagonal().mean()) ** 0.5
