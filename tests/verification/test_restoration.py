"""The checks of methods that move the state fail where something wrong is put in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from torch import Tensor

from pushforward.denoisers import Denoiser
from pushforward.inverse import DDRM, Constant, Fixed, Measured, Published
from pushforward.inverse.steps import DDRMStep
from pushforward.numerics.random import Draws
from pushforward.paths import Karras
from pushforward.verification import restoration


@dataclass(frozen=True, eq=False)
class HalvedNoise(DDRMStep):
    """Fresh noise of half the variance, as a popular library has it."""

    def __call__(self, denoiser: Denoiser, x: Tensor, move, memory: None, draws: Draws, /):
        class Less:
            def normal_like(self, like: Tensor) -> Tensor:
                return draws.normal_like(like) / 2**0.5

        return super().__call__(denoiser, x, move, memory, Less())


@dataclass(frozen=True)
class Halved(DDRM):
    def step(self, measured: Measured, x: Tensor) -> DDRMStep:
        made = super().step(measured, x)
        return HalvedNoise(made.components, made.renewal, made.blend)


@pytest.mark.parametrize("check", restoration.CHECKS, ids=lambda check: check.name)
def test_holds(check):
    row = check()
    assert row.passed, row


def test_noise_of_half_the_variance_is_found():
    assert restoration.marginals(Halved(Constant(0.85), Fixed(), False)) > 0.1
    assert restoration.transcribed(method=Halved(Constant(0.85), Fixed(), False, Karras())) > 0.01


def test_other_parameters_are_other_equations():
    assert restoration.transcribed(method=DDRM(Constant(0.8), Fixed(), False, Karras())) > 1e-3
    assert restoration.met_exactly((replace(DDRM.published(), blend=Fixed(0.9)),)) > 1e-3


def test_noise_that_is_not_modelled_is_found():
    assert restoration.law_of_projection(Published()).error > 1.0
