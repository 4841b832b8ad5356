"""Averages of the weights: power-function ones (Karras et al. 2024, "EDM2", section 3.1), several lengths at once.

A power-function average after t updates is ∫ w(τ) θ(τ) dτ with w(τ) ∝ τ^γ: its width is a fixed share σ_rel of the
training so far, so it warms up by itself and needs no constant that depends on the length of the run. Step by step,

    ema_t = β_t ema_{t−1} + (1 − β_t) θ_t,    β_t = (1 − 1/t)^(γ + 1).

An exponential one, as many papers have it, is that with one β from the first step on: it begins with the weights that
training begins with, which fade as β^t.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.errors import UserError


def exponent(length: float) -> float:
    """γ of a relative length σ_rel = √(γ + 1) / ((γ + 2) √(γ + 3)), 0 < σ_rel < 0.288 (a uniform average, γ = 0)."""
    if not 0 < length < 12**-0.5:
        raise UserError(f"An average of the weights was given length {length}; expected a number between 0 and 0.288.")
    inverse = length**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real[np.abs(roots.imag) < 1e-6].max())


def decay(gamma: float, count: int) -> float:
    """β_t of the update with number t = `count`, from 1."""
    return (1 - 1 / count) ** (gamma + 1)


class Average(abc.ABC):
    """One average of named parameters, kept beside them on their device. Its name is that of its file."""

    name: str

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.tensors = {name: p.detach().clone() for name, p in parameters.items()}
        self._live = [p.detach() for p in parameters.values()]
        self._kept = list(self.tensors.values())

    @abc.abstractmethod
    def decay(self, count: int) -> float:
        """β_t of the update with number t = `count`, from 1."""

    @torch.no_grad()
    def update(self, count: int) -> None:
        """Take in the weights after update number `count`, from 1."""
        torch._foreach_lerp_(self._kept, self._live, 1 - self.decay(count))


class PowerAverage(Average):
    """A power-function average of a relative length."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], length: float) -> None:
        super().__init__(parameters)
        self.length, self.gamma, self.name = length, exponent(length), name_of(length)

    def decay(self, count: int) -> float:
        return decay(self.gamma, count)


class ExponentialAverage(Average):
    """An exponential average with one decay, 0 < β < 1."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], beta: float) -> None:
        super().__init__(parameters)
        self.beta, self.name = beta, f"ema-decay-{beta:g}"

    def decay(self, count: int) -> float:
        return self.beta


def name_of(length: float) -> str:
    """`ema-0.050` for a length of 0.05."""
    return f"ema-{length:.3f}"


def full_state(model: nn.Module, average: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A model's state with its trained parameters replaced by an average; tied weights keep both names.

    Buffers, and parameters that are not trained and so have no average, are as they are.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    state = model.state_dict(keep_vars=True)
    if average is not None:
        state = {k: average.get(names.get(id(v), ""), v) for k, v in state.items()}
    return {k: v.detach() for k, v in state.items()}


@contextmanager
def using(model: nn.Module, average: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Within this block the model is in evaluation mode and holds an average; afterwards its own weights again."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = dict(model.named_parameters())
    own = {name: parameters[name].detach().clone() for name in average or ()}
    model.eval()
    try:
        _fill(parameters, average or {})
        yield
    finally:
        _fill(parameters, own)
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def _fill(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
