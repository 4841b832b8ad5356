"""What a model may offer the engine beside `objectives` and `loss`; each is optional and found by its name.

| a model has | and the engine |
|---|---|
| `progress: float` | sets it before every step: the share of the training that is done, in [0, 1) |
| `figures() -> {name: Tensor}` | asks after the losses of a step that is logged; their means are in the log |
| `validation_loss(batch, draws) -> (B,)` | validates with it instead of the first objective's loss |
| `after_step(total)` | calls it after every step; `total` sums a tensor over all processes |
| `ranked_by_validation = False` | takes the latest checkpoint and the longest average for the best |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor, nn

from pushforward.numerics.random import Draws

if TYPE_CHECKING:
    from pushforward.data.dataset import Batch


@runtime_checkable
class Scheduled(Protocol):
    """A model some of whose settings move while it trains, as functions of the share of the training that is done."""

    progress: float


@runtime_checkable
class Measured(Protocol):
    """A model that has more to tell of a step than its losses."""

    def figures(self) -> Mapping[str, Tensor]:
        """Figures of the last call of `loss`, each a number or one per item; no two objectives share a name."""
        ...


@runtime_checkable
class Validated(Protocol):
    """A model whose training losses do not tell how good it is."""

    def validation_loss(self, batch: Batch, draws: Draws) -> Tensor:
        """What held-out items say of the model, lower is better: (B,)."""
        ...


@runtime_checkable
class Adapting(Protocol):
    """A model whose buffers follow the losses of its steps, and must be the same in all processes."""

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Take in what the losses of this step's items said, summed over all processes by `total`."""
        ...


def ranked_by_validation(model: nn.Module) -> bool:
    """Whether the checkpoint with the lowest validation loss is the best one; for a model that says no, the last is."""
    return bool(getattr(model, "ranked_by_validation", True))
