"""Is a linear operator linear, its adjoint the adjoint, its singular system its own? Asked in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.solve import dots, noise_like, squares

_PROBES = 4


def check(operator: LinearOperator, shape: Shape, tolerance: float) -> float:
    """The largest relative error found. Raises UserError, which names it, where one is above `tolerance`."""
    name = type(operator).__name__
    with torch.no_grad():
        x = torch.cat([operator.zeros(shape)] * (1 if operator.items else _PROBES))
        probes = [noise_like(x, "check", i) for i in range(_PROBES if operator.items else 2)]
        linear = _linear_error(operator, probes)
        if linear > tolerance:
            raise UserError(
                f"{name} is not linear: A(2x − 3z) and 2A(x) − 3A(z) differ by {linear:.1e} of their size; a map that "
                "is not linear is an Operator with a pseudo-inverse"
            )
        adjoint = adjoint_error(operator, probes)
        if adjoint > tolerance:
            raise UserError(
                f"the adjoint of {name} is not its adjoint: ⟨A x, y⟩ and ⟨x, A* y⟩ have a relative error of "
                f"{adjoint:.1e}, where {tolerance:.0e} is allowed; give the adjoint of the very map that measures"
            )
        singular = singular_error(operator, shape, probes)
        if singular > tolerance:
            raise UserError(
                f"the singular system of {name} is not its own: U diag(s) V* or its isometries have a relative error "
                f"of {singular:.1e}, where {tolerance:.0e} is allowed"
            )
    return max(linear, adjoint, singular)


def _linear_error(operator: LinearOperator, probes: list[Tensor]) -> float:
    """Of the first two probes, with items measured together and apart (an operator may not mix items)."""
    x, z = probes[:2]
    left, right = operator(2 * x - 3 * z), 2 * operator(x) - 3 * operator(z)
    if operator.items is None:
        left = torch.cat((left, operator(x[:1])))
        right = torch.cat((right, operator(x)[:1]))
    return _relative(left - right, right)


def adjoint_error(operator: LinearOperator, probes: list[Tensor]) -> float:
    """Of all items of all probes: root mean square of ⟨A x, y⟩ − ⟨x, A* y⟩ against that of the products."""
    products: list[tuple[Tensor, Tensor]] = []
    for i, x in enumerate(probes):
        image = operator(x)
        y = noise_like(image, "measured", i)
        back = operator.adjoint(y)
        if back.shape != x.shape:
            raise UserError(
                f"the adjoint of {type(operator).__name__} gives items of shape {tuple(back.shape[1:])}, where the "
                f"operator takes {tuple(x.shape[1:])}"
            )
        products.append((dots(image, y), dots(x, back)))
    left, right = (torch.cat(side) for side in zip(*products, strict=True))
    size = float((left.square() + right.square()).mean().div(2).sqrt())
    return float((left - right).square().mean().sqrt()) / size if size else 0.0


def singular_error(operator: LinearOperator, shape: Shape, probes: list[Tensor]) -> float:
    """Of A x = U diag(s) V* x, and of the isometries: V*V = I, and U*U = I where s > 0. 0 without a system."""
    system = operator.svd(shape)
    if system is None:
        return 0.0
    worst = 0.0
    for x in probes:
        image = operator(x)
        worst = max(worst, _relative(system.apply(x) - image, image))
        part = noise_like(system.v.adjoint(x), "part")
        worst = max(worst, _relative(system.v.adjoint(system.v(part)) - part, part))
        worst = max(worst, float((squares(system.v(part)) / squares(part) - 1).abs().max()))
        seen = torch.where(system.values(part) > 0, part, 0)
        worst = max(worst, _relative(system.u.adjoint(system.u(seen)) * (seen != 0) - seen, part))
    return worst


def _relative(difference: Tensor, value: Tensor) -> float:
    size = float(squares(value).sum().sqrt())
    return float(squares(difference).sum().sqrt()) / size if size else float(squares(difference).sum().sqrt())
