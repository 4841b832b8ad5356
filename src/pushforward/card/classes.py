"""From samples of a one-hot response to probabilities of classes.

A sample ŷ of an exact model is a corner e_k, and is drawn with the class's probability: votes are the class posterior
whatever f is. Samples of a trained model lie beside the corners, and how far they are to be trusted is a temperature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

Rule = Callable[[Tensor, float], Tensor]
"""(samples (…, K), temperature) -> probabilities (…, K)."""


def nearest_corner(samples: Tensor, temperature: float) -> Tensor:
    """softmax(−‖ŷ − e_k‖²/τ) = softmax(2ŷ/τ): the class whose corner is nearest, and never another for more of it."""
    return torch.softmax(2 * samples / temperature, -1)


def published_rule(samples: Tensor, temperature: float) -> Tensor:
    """softmax(−(ŷ_k − 1)²/τ), eq. 10 of the paper: a value beyond 1 counts as one below, so that 2 scores like 0."""
    return torch.softmax(-((samples - 1) ** 2) / temperature, -1)


def votes(samples: Tensor, rule: Rule = nearest_corner) -> Tensor:
    """How many samples of each row decide for each class: (N, S, K) -> (N, K)."""
    chosen = rule(samples, 1.0).argmax(-1)
    return torch.nn.functional.one_hot(chosen, samples.shape[-1]).sum(1)


def probabilities(samples: Tensor, temperature: float, rule: Rule = nearest_corner) -> Tensor:
    """The mean over samples of their probabilities: (N, S, K) -> (N, K)."""
    return rule(samples, temperature).mean(1)


def mean_width(p: np.ndarray) -> np.ndarray:
    """How wide the intervals of a one-hot response with probabilities p (N, K) are, over all coverages: (N,).

    With w_k(c) the width of the central interval of coverage c of its component k this is ½ Σ_k ∫ c·w_k(c) dc, half of
    Gini's mean difference: the distance of two draws, which is 1 where they are of different classes. It is
    Σ p_k (1 − p_k), in [0, 1 − 1/K].
    """
    return np.asarray((p * (1 - p)).sum(1))


def fit_temperature(
    samples: Tensor, classes: Tensor, rule: Rule = nearest_corner, low: float = 1e-2, high: float = 30.0
) -> float:
    """The temperature whose probabilities make held-out classes (N,) most likely, from samples (N, S, K).

    It is fitted to the same average over samples that it is used for. One row more, of a class that is not known, keeps
    a few rows that were all told rightly from asking for certainty.
    """
    rows = torch.arange(len(classes))

    def loss(log_temperature: float) -> float:
        p = probabilities(samples.double(), float(torch.tensor(log_temperature).exp()), rule)
        log_p = p.clamp(min=1e-12).log()
        return -float(log_p[rows, classes].sum() + log_p.mean()) / (len(rows) + 1)

    ends = float(torch.tensor(low).log()), float(torch.tensor(high).log())
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-2})
    return float(torch.tensor(float(found.x)).exp())
