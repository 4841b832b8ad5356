"""A Denoiser has a path and maps (x_t, t) to an Estimate; here the base class and the trained network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Self

from torch import Tensor, nn

from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.precondition import Prediction, log_noise
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, batch_of, entries_of, expand
from pushforward.paths.gaussian import GaussianPath, Level


class Denoiser(ABC):
    """Anything that estimates (x_0, z) from x_t on its path: a network, an exact mixture, a wrapper of another."""

    path: GaussianPath

    @abstractmethod
    def estimate(self, x: Tensor, level: Level) -> Estimate:
        """The Estimate of (x_0, z) given x: (B, …) at a level of `path`."""

    def __call__(self, x: Tensor, t: Scalar | Level) -> Estimate:
        """As `estimate`, for a time, one time per sample (B,), or a Level."""
        return self.estimate(x, t if isinstance(t, Level) else self.path.level(t))

    def given(self, **conditions: object) -> Denoiser:
        """This denoiser with its conditions bound, e.g. `given(label=labels)`. Raises UserError for unknown ones."""
        raise UserError(f"this model takes no condition; got {', '.join(conditions)}")

    def rows(self, index: Tensor) -> Denoiser:
        """This denoiser for some of the samples of its batch, int64 (b,).

        What holds one entry per sample (bound conditions, measurements) must be indexed; the denoisers in the fields of
        a dataclass are. A wrapper with tensors of its own overrides this.
        """
        if not is_dataclass(self):
            return self
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        inner = {name: value.rows(index) for name, value in held.items() if isinstance(value, Denoiser)}
        return replace(self, **inner) if inner else self


@dataclass(frozen=True)
class NetworkDenoiser(Denoiser):
    """A network F(c_in x, c_noise, conditions) read by its prediction.

    `accepts` names the conditions that the network's forward takes as keywords; `conditions` are the bound ones.
    """

    path: GaussianPath
    network: nn.Module
    prediction: Prediction
    time: Callable[[Level], Scalar] = log_noise
    accepts: tuple[str, ...] = ()
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        scaled = x * expand(self.prediction.input_scale(level), x)
        output = self.network(scaled, batch_of(self.time(level), len(x), x.device), **self.conditions)
        return Estimate(x, level, output, self.prediction.reading(level))

    def given(self, **conditions: object) -> Self:
        for name, value in conditions.items():
            if name not in self.accepts:
                known = ", ".join(self.accepts) or "none"
                raise UserError(f"the model has no condition {name!r}; it was trained with: {known}")
            if not isinstance(value, Tensor):
                raise UserError(f"the condition {name!r} must be a tensor with one entry per sample; got {value!r}")
        return replace(self, conditions={**self.conditions, **conditions})  # type: ignore[dict-item]

    def rows(self, index: Tensor) -> NetworkDenoiser:
        # A network is given one entry per sample, where one was bound for all too.
        found = {
            name: entries_of(value, index, f"values of {name}").expand(len(index), *value.shape[1:])
            for name, value in self.conditions.items()
        }
        return replace(self, conditions=found)
