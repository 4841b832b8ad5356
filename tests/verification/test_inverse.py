"""The checks of measurements fail where something wrong is put in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pushforward.inverse import MMPS, Blur, LinearOperator, PiGDM, isotropic_variance
from pushforward.verification import inverse


@dataclass(frozen=True)
class Halved(LinearOperator):
    """An operator whose adjoint is half of it."""

    inner: LinearOperator

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return 0.5 * self.inner.adjoint(y)


def test_a_wrong_adjoint_is_seen():
    operator = Halved(Blur(inverse.kernel()))
    assert inverse.adjoint(lambda: (operator, inverse.IMAGE)) > 1e-3


@pytest.mark.parametrize(
    ("rule", "covariance"),
    [
        (PiGDM(), inverse.FULL),
        (PiGDM(isotropic_variance(1.0)), inverse.ROUND),
        (MMPS(1), inverse.FULL),
        (replace(PiGDM(), jacobian=False), inverse.APART),
    ],
    ids=["isotropic for full", "the published variance", "one iteration", "no derivative"],
)
def test_rules_that_are_not_exact_are_seen(rule, covariance):
    assert inverse.guided(rule, covariance, inverse.GUIDING[:2]) > 1e-3


def test_a_blur_that_is_turned_round_is_seen(monkeypatch):
    monkeypatch.setattr(inverse, "Blur", lambda taps: Blur(taps.flip((0, 1))))
    assert inverse.convolution() > 0.1


def test_a_mirrored_tomograph_is_seen(monkeypatch):
    class Mirrored:
        def __init__(self, radon: object) -> None:
            self.inner, self.geometry = radon, radon.geometry

        def __call__(self, x: Tensor) -> Tensor:
            return self.inner(x.flip(-2))

    monkeypatch.setattr(inverse, "fan", lambda size, views: Mirrored(inverse.parallel(size, views)))
    assert inverse.chords().error > 0.2


def test_a_smoothed_energy_that_is_too_round_is_seen(monkeypatch):
    from pushforward.inverse.rules import proximal

    monkeypatch.setattr(proximal, "_ROUNDED", 2.0)
    assert inverse.shrunk() > 0.05
    assert torch.isfinite(torch.tensor(inverse.shrunk()))
