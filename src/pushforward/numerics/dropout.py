"""Dropout whose masks are counted: a pure function of the items' keys, the same in any batch and after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.numerics.random import Draws

_UNCOUNTED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_current: ContextVar[Draws | None] = ContextVar("counted", default=None)


@contextmanager
def counted(draws: Draws) -> Iterator[None]:
    """Within this block every `Dropout` in training mode takes its masks from `draws`, one key per item."""
    token = _current.set(draws)
    try:
        yield
    finally:
        _current.reset(token)


def current_draws() -> Draws | None:
    """The draws of the innermost `counted` block, None outside."""
    return _current.get()


class Dropout(nn.Module):
    """x ↦ x · m / (1 − p), m ~ Bernoulli(1 − p) elementwise from the items' keys; the identity in evaluation mode.

    x has shape (B, …) with one key per item. `index` tells the layers of one network apart (see `number_dropouts`).
    Raises `UserError` when it trains outside `counted` or on a batch of another size.
    """

    def __init__(self, p: float, index: int = 0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"Dropout was given p = {p}; expected a probability in [0, 1).")
        self.p = p
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        draws = _current.get()
        if draws is None:
            raise UserError(
                "Dropout in training mode needs counted draws: call it within `counted(draws)` or use eval()."
            )
        if len(draws) != len(x):
            raise UserError(
                f"Dropout was given {len(x)} items and the keys of {len(draws)}; the first axis must be the batch."
            )
        kept = draws.at("dropout", self.index).uniform(x.shape[1:]) >= self.p
        return x * kept.to(x.dtype).mul_(1 / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}, index={self.index}"


def number_dropouts(model: nn.Module) -> int:
    """Give every `Dropout` of a model its own index, in the order of its modules; returns how many there are."""
    layers = [module for module in model.modules() if isinstance(module, Dropout)]
    for index, layer in enumerate(layers):
        layer.index = index
    return len(layers)


def uncounted_dropout(model: nn.Module) -> str | None:
    """The name of the first layer of torch's own, uncounted dropout that is not switched off, or None."""
    layers = ((name, m) for name, m in model.named_modules() if isinstance(m, _UNCOUNTED) and m.p > 0)
    return next((name for name, _ in layers), None)
