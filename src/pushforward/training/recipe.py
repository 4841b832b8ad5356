"""How a model is trained: one frozen record, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.training.ema import exponent
from pushforward.training.schedule import Cosine, Schedule

if TYPE_CHECKING:
    from pushforward.data.dataset import Batch

Augment = Callable[["Batch", Draws], "Batch"]
"""A change of a training batch, drawn from one key per item."""

_SOON = 25
"""Steps before which nothing is worth a validation."""


class Precision(Enum):
    """What the network computes in; weights, averages and moments are float32 in either case."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True)
class Recipe:
    """How to train, for a number of `steps` or for about `minutes` (exactly one of them).

    Args:
        batch_size: items per step, over all processes and all parts of an accumulated step.
        steps: optimiser steps.
        minutes: wall time, turned into steps once by a short calibration and stored.
        learning_rate: of AdamW, reached after `warmup_steps` and moved by `schedule`.
        rates: a factor on the learning rate of an objective, by its name; 1 for those that are not named.
        weight_decay: on parameters of two and more axes (not on biases and gains).
        amsgrad: divide by the largest second moment so far (Reddi et al. 2018) instead of the present one.
        clip_norm: the largest norm of the gradient, or None.
        accumulate: parts into which a step is cut to save memory; the result is the same to rounding.
        ema_lengths: relative lengths of the averages of the weights that are kept (Karras et al. 2024).
        ema_decays: decays of exponential averages that are kept besides.
        validate_every: steps between validations; None: twenty, evenly, and a few more before the first of them.
        validation_batches: batches of the validation split that are used, the same every time.
        save_every: steps between checkpoints; None: by time alone.
        save_seconds: seconds between checkpoints; None: by steps alone.
        keep_last: checkpoints kept beside the best one.
        log_every: steps between entries of the log.
        preview_every: steps between previews; None: as often as validations.
        seed: of all randomness of the training.
        device: where to train, e.g. "cpu" or "cuda:1"; None: the fastest there is.
        augment: a random change of each training batch, or None.
        compile: have the networks compiled by torch.compile; the first steps take a minute longer.
        deterministic: prefer kernels whose results repeat to the bit (within the training, nowhere else).
    """

    batch_size: int = 128
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    schedule: Schedule = field(default_factory=Cosine)
    rates: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    amsgrad: bool = False
    clip_norm: float | None = 1.0
    accumulate: int = 1
    ema_lengths: tuple[float, ...] = (0.05, 0.1)
    ema_decays: tuple[float, ...] = ()
    validate_every: int | None = None
    validation_batches: int = 8
    save_every: int | None = None
    save_seconds: float | None = 120.0
    keep_last: int = 3
    log_every: int = 10
    preview_every: int | None = None
    seed: int = 0
    precision: Precision = Precision.FP32
    device: str | None = None
    augment: Augment | None = None
    deterministic: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise UserError("A recipe needs either `steps` or `minutes`, exactly one of them.")
        whole = ("batch_size", "steps", "accumulate", "validate_every", "validation_batches", "save_every")
        for name in (*whole, "keep_last", "log_every", "preview_every"):
            _require(name, getattr(self, name), lambda v: v >= 1 and v == int(v), "a whole number of at least 1")
        for name in ("minutes", "learning_rate", "clip_norm", "save_seconds"):
            _require(name, getattr(self, name), lambda v: 0 < v < float("inf"), "a positive number")
        for name in ("warmup_steps", "weight_decay"):
            _require(name, getattr(self, name), lambda v: 0 <= v < float("inf"), "a number of at least 0")
        for name, factor in self.rates.items():
            _require(f"rates[{name!r}]", factor, lambda v: 0 < v < float("inf"), "a positive number")
        _require("betas", self.betas, lambda v: len(v) == 2 and all(0 <= b < 1 for b in v), "two numbers in [0, 1)")
        if len({f"{length:.3f}" for length in self.ema_lengths}) < len(self.ema_lengths):
            raise UserError(f"ema_lengths is {self.ema_lengths}; expected lengths that differ by 0.001 or more.")
        for length in self.ema_lengths:
            exponent(length)
        if len({f"{beta:g}" for beta in self.ema_decays}) < len(self.ema_decays):
            raise UserError(f"ema_decays is {self.ema_decays}; expected decays that differ in six digits.")
        for beta in self.ema_decays:
            _require("ema_decays", beta, lambda v: 0 < v < 1, "numbers between 0 and 1")

    def validation_interval(self, total: int) -> int:
        """Steps between validations of a run of `total` steps."""
        return self.validate_every or max(1, -(-total // 20))

    def validates(self, step: int, total: int) -> bool:
        """Whether a run of `total` steps is validated after this one.

        Small tables are learned by heart before a twentieth of a long run is over: so too at 1/2, 1/4 … 1/32 of it.
        """
        interval = self.validation_interval(total)
        early = self.validate_every is None and _SOON <= step < interval
        return step == total or step % interval == 0 or (early and step in [interval >> k for k in range(1, 6)])


def _require(name: str, value: Any, holds: Callable[[Any], bool], expected: str) -> None:
    if value is not None and not holds(value):
        raise UserError(f"{name} is {value!r}; expected {expected}.")


FREE = frozenset(
    {
        *("steps", "minutes", "accumulate", "validate_every", "validation_batches", "save_every", "save_seconds"),
        *("keep_last", "log_every", "preview_every", "device"),
    }
)
"""Settings that may change when a run is continued; every other one is part of what the run is."""


def as_plain(value: Any) -> Any:
    """A recipe, or a part of one, as JSON values; functions and rules by their names."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: as_plain(getattr(value, f.name)) for f in fields(value)}
        return plain if isinstance(value, Recipe) else {"kind": type(value).__qualname__, **plain}
    if isinstance(value, Mapping):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def first_difference(stored: Any, given: Any, name: str = "") -> str | None:
    """The first key, depth first, at which two JSON values differ, with both values; None if they agree."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for part in sorted({*stored, *given}):
            found = first_difference(stored.get(part), given.get(part), f"{name}.{part}" if name else part)
            if found:
                return found
        return None
    return None if stored == given else f"{name} was {_short(stored)} and now is {_short(given)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
