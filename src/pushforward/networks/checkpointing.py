"""Activations computed again in the backward pass instead of being kept: less memory, a third more time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pushforward.numerics.dropout import counted, current_draws


def recomputed(enabled: bool, module: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """module(*inputs), its activations kept or, where `enabled` and gradients are taken, computed again.

    The masks of dropout are functions of keys, so the second pass has those of the first (Chen et al. 2016).
    """
    if not enabled or not torch.is_grad_enabled():
        return module(*inputs)
    draws = current_draws()

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), nullcontext() if draws is None else counted(draws)

    found = checkpoint(module, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    assert isinstance(found, Tensor)
    return found
