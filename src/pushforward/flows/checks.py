"""What flows refuse at their boundary, in one sentence each."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pushforward.errors import UserError


def _watched(x: Tensor) -> bool:
    """Looking at values makes an accelerator wait and breaks a compiled graph; there the caller's loss tells."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _first(wrong: Tensor) -> str:
    """Where the first true entry is, in words."""
    row, *rest = wrong.nonzero()[0].tolist()
    return f"sample {row}" + (f", entry {rest[0] if len(rest) == 1 else tuple(rest)}" if rest else "")


def check_batch(x: Tensor, module: nn.Module) -> None:
    """Refuse what is not one row of floats per sample, of the module's own precision."""
    if x.ndim < 2 or not x.is_floating_point():
        raise UserError(
            f"A flow takes a batch of floats with one sample per row, (B, …); it was given {x.dtype} of shape "
            f"{tuple(x.shape)}."
        )
    if torch.compiler.is_compiling():
        return
    own = next(module.parameters(), x).dtype
    if x.dtype != own:
        raise UserError(f"The flow computes in {own}, and the input is {x.dtype}: convert one of the two with `.to`.")


def check_base(z: Tensor, shape: torch.Size) -> None:
    """Refuse a base density of other numbers than the bijection gives: broadcasting would make a wrong density."""
    if z.shape[1:] != shape:
        raise UserError(
            f"The bijection gives items of shape {tuple(z.shape[1:])}, and the base density is of shape {tuple(shape)}."
        )


def check_finite(x: Tensor, name: str) -> None:
    # The sum is one operation; only if it is not finite, which large numbers may cause too, is a closer look due.
    if _watched(x) and not math.isfinite(x.detach().sum().item()) and bool((wrong := ~torch.isfinite(x)).any()):
        value = x[wrong][0].item()
        raise UserError(f"The {name} holds {value} at {_first(wrong)}; remove or replace numbers that are not finite.")


def check_domain(x: Tensor, inside: Tensor, domain: str) -> None:
    """Refuse numbers outside the domain of a bijection; `inside` has the leading dimensions of x."""
    if _watched(x) and not bool(inside.all()):
        wrong = ~inside
        value = x[wrong][0].detach()
        shown = f"{value.item():.6g}" if value.ndim == 0 else f"{[round(v, 6) for v in value.tolist()]}"
        raise UserError(f"The value {shown} at {_first(wrong)} is outside the domain of this bijection, {domain}.")
