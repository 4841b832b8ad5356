"""What is asked of x beside the prior: −log c(x) of each item, differentiable; or a rule that puts it right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.broadcast import mean_per_sample

Constraint = Callable[[Tensor], Tensor]
"""x (B, …) -> what it costs, (B,): −log c(x), 0 where the constraint holds. Differentiable."""
Rule = Callable[[Tensor], Tensor]
"""x (B, …) -> the nearest x of the same shape that obeys; need not be differentiable: it is applied after each step."""
Parametrisation = Callable[[Tensor], Tensor]
"""η (B, …) -> x = h(η) (B, …), differentiable."""


def nothing(x: Tensor) -> Tensor:
    """No constraint."""
    return x.flatten(1).sum(1) * 0.0


def flip_symmetry(x: Tensor, axis: int = -1) -> Tensor:
    """Mean squared difference to the mirror image: (B,)."""
    return mean_per_sample((x - x.flip(axis)).square())


def of_class(classifier: Callable[[Tensor], Tensor], labels: Tensor) -> Constraint:
    """−log p(label | x) of a differentiable classifier of logits (B, classes); labels int64 (B,)."""
    return lambda x: functional.cross_entropy(classifier(x), labels, reduction="none")


def asked(constraint: Constraint, x: Tensor) -> Tensor:
    """The cost of each item, after checking it.

    Raises:
        UserError: it is not one number per item, or it has no gradient.
        NumericalError: it is not finite.
    """
    cost: Any = constraint(x)
    if not isinstance(cost, Tensor) or cost.shape != (len(x),):
        got = f"the shape {tuple(cost.shape)}" if isinstance(cost, Tensor) else f"a {type(cost).__name__}"
        raise UserError(
            f"a constraint gives one number for each of the {len(x)} items, a tensor ({len(x)},); this one gave {got}: "
            "average or sum over everything but the first axis"
        )
    if x.requires_grad and not cost.requires_grad:
        raise UserError(
            "the constraint has no gradient with respect to x, so nothing can be descended: compute it by "
            "differentiable torch operations (no .detach(), no NumPy, no rounding or comparing), or give it as a rule"
        )
    if not bool(torch.isfinite(cost).all()):
        bad = int((~torch.isfinite(cost)).nonzero()[0])
        raise NumericalError(
            f"the constraint gave {float(cost[bad].detach())} for item {bad}: a logarithm of 0, or a division by it?"
        )
    return cost


def shaped(h: Parametrisation, eta: Tensor) -> Tensor:
    """x = h(η), after checking it. Raises UserError, NumericalError as `asked` does."""
    x: Any = h(eta)
    if not isinstance(x, Tensor) or len(x) != len(eta):
        raise UserError(
            f"x = h(η) must be a tensor with one item for each of the {len(eta)} of η; got {type(x).__name__}"
        )
    if eta.requires_grad and not x.requires_grad:
        raise UserError("x = h(η) has no gradient with respect to η: use differentiable torch operations in h")
    if not bool(torch.isfinite(x).all()):
        raise NumericalError("x = h(η) is not finite: look for a logarithm or a quotient of 0 in h, or lower the rate")
    return x
