"""Which noise goes with which item of a batch: minibatch optimal transport for flow matching (Tong et al. 2024).

Where noise and data of a batch are paired at random, the paths from one to the other cross, and the flow that follows
their mean velocity bends. Paired at the least Σ|x_0 − z|², few cross, and the flow is straighter: fewer steps do. The
laws of the data and of the noise stay what they are, so the flow ends where it should. But given x_0 the noise is no
longer a standard normal: the model is a flow, not a score, and samplers that draw noise are not for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws


class Coupling(Protocol):
    """(items (B, …), noise (B, …), draws) -> the number of the noise that each item is given: int64 (B,)."""

    def __call__(self, x0: Tensor, z: Tensor, draws: Draws, /) -> Tensor: ...


def squared_distances(x0: Tensor, z: Tensor) -> Tensor:
    """|x_i − z_j|² over all coordinates: (B, B)."""
    return torch.cdist(x0.flatten(1).double(), z.flatten(1).double()).square()


@dataclass(frozen=True)
class Assignment:
    """The exact optimum, one noise per item (Crouse 2016). About B³ operations on the host: batches to a thousand."""

    def __call__(self, x0: Tensor, z: Tensor, draws: Draws, /) -> Tensor:
        _, chosen = linear_sum_assignment(squared_distances(x0, z).cpu().numpy())
        return torch.as_tensor(chosen, device=x0.device)


@dataclass(frozen=True)
class Sinkhorn:
    """A draw from the transport plan with entropy (Cuturi 2013), on any device: noise may serve two items or none.

    `blur` is the temperature in units of the mean distance²: 0 is the optimum, large is independence.
    """

    blur: float = 0.05
    iterations: int = 50

    def __post_init__(self) -> None:
        if not (math.isfinite(self.blur) and self.blur > 0) or self.iterations < 1:
            raise UserError(
                "the plan of a coupling needs blur > 0 and at least one iteration; got "
                f"{self.blur} and {self.iterations}"
            )

    def __call__(self, x0: Tensor, z: Tensor, draws: Draws, /) -> Tensor:
        plan = self.plan(squared_distances(x0, z))
        ends = plan.cumsum(1)
        where = draws.uniform((1,), torch.float64) * ends[:, -1:]
        return torch.searchsorted(ends, where).clamp(max=len(z) - 1)[:, 0]

    def plan(self, costs: Tensor) -> Tensor:
        """The probability of each noise given the item: (B, B), rows sum to one and columns nearly."""
        logits = -costs / (self.blur * costs.mean()).clamp(min=torch.finfo(costs.dtype).tiny)
        for _ in range(self.iterations):
            logits = logits - logits.logsumexp(0, keepdim=True)
            logits = logits - logits.logsumexp(1, keepdim=True)
        return logits.exp()


def coupled(coupling: Coupling, x0: Tensor, z: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
    """The noise of each item (B, …), of the same class only: the noise of every class is a standard normal then too.

    Across classes it would not be, and what is sampled with a class from a standard normal would not be that class.
    """
    if labels is None:
        return z[coupling(x0, z, draws)]
    chosen = torch.empty_like(z)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        chosen[rows] = z[rows[coupling(x0[rows], z[rows], draws[rows])]]
    return chosen
