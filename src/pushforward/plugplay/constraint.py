"""What is asked of x beside the prior: −log c(x) of each item, differentiable; or a rule that puts it right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.broadcast import mean_per_sample, sum_per_sample

_NO_GRADIENT = (
    "the constraint has no gradient with respect to x, so nothing can be descended: compute it by differentiable torch "
    "operations (no .detach(), no NumPy, no rounding or comparing), or give it as a rule"
)
Constraint = Callable[[Tensor], Tensor]
"""x (B, …) -> what it costs, (B,): −log c(x), 0 where the constraint holds. Differentiable."""
Rule = Callable[[Tensor], Tensor]
"""x (B, …) -> the nearest x of the same shape that obeys; need not be differentiable: it is applied after each step."""
Parametrisation = Callable[[Tensor], Tensor]
"""η (B, …) -> x = h(η) (B, …), differentiable."""


def nothing(x: Tensor) -> Tensor:
    """No constraint."""
    return sum_per_sample(x) * 0.0


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
    try:
        cost: Any = constraint(x)
    except RuntimeError as error:
        if "requires grad" in str(error):  # torch's answer to x.numpy()
            raise UserError(_NO_GRADIENT) from error
        raise
    if not isinstance(cost, Tensor) or cost.shape != (len(x),):
        got = f"the shape {tuple(cost.shape)}" if isinstance(cost, Tensor) else f"a {type(cost).__name__}"
        raise UserError(
            f"a constraint gives one number for each of the {len(x)} items, a tensor ({len(x)},); this one gave {got}: "
            "average or sum over everything but the first axis"
        )
    if x.requires_grad and not cost.requires_grad:
        raise UserError(_NO_GRADIENT)
    if not bool(torch.isfinite(cost).all()):
        bad = int((~torch.isfinite(cost)).nonzero()[0])
        raise NumericalError(
            f"the constraint gave {float(cost[bad].detach())} for item {bad}: a logarithm of 0, or a division by it?"
        )
    return cost


def pull_of(cost: Tensor, x: Tensor) -> Tensor:
    """The gradient of the costs (B,) with respect to x (B, …). Raises UserError where they do not depend on x."""
    (found,) = torch.autograd.grad(cost.sum(), x, allow_unused=True)
    if found is None:  # a classifier's own parameters have gradients, whatever it was shown
        raise UserError(_NO_GRADIENT)
    return found


def obeyed(rule: Rule, eta: Tensor) -> Tensor:
    """What the rule makes of η. Raises UserError for another shape, NumericalError where it is not finite."""
    with torch.no_grad():
        found: Any = rule(eta)
    if not isinstance(found, Tensor) or found.shape != eta.shape:
        got = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(f"a rule gives back all items, a tensor {tuple(eta.shape)}; this one gave {got}")
    if not bool(torch.isfinite(found).all()):
        raise NumericalError("what the rule gave is not finite: a logarithm of 0 in it, or a division by it?")
    return found


def shaped(h: Parametrisation, eta: Tensor) -> Tensor:
    """x = h(η), after checking it. Raises UserError, NumericalError as `asked` does."""
    x: Any = h(eta)
    if not isinstance(x, Tensor) or x.shape[:1] != eta.shape[:1]:
        got = f"the shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise UserError(f"x = h(η) must be a tensor with one item for each of the {len(eta)} of η; got {got}")
    if eta.requires_grad and not x.requires_grad:
        raise UserError("x = h(η) has no gradient with respect to η: use differentiable torch operations in h")
    if not bool(torch.isfinite(x).all()):
        raise NumericalError("x = h(η) is not finite: look for a logarithm or a quotient of 0 in h, or lower the rate")
    return x
