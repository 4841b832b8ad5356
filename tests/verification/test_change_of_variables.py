"""The checks of flows fail where something wrong is put in their place."""

from __future__ import annotations

import pytest
import torch

from pushforward.flows import LU, Affine, Dense, Exponential, Flow, Inverse, Ode, Scale, StandardGaussian
from pushforward.verification import change_of_variables as checks


class Forgetful(Scale):
    """A scale that leaves out its log-determinant."""

    def _log_det(self, x):
        return x.new_zeros(len(x))


class Wrong(Exponential):
    """e^x, with the inverse of another."""

    def inverse(self, y):
        x, log_det = super().inverse(y)
        return 1.001 * x, log_det


class Short(Ode):
    """Gradients of a trace that is half too small."""

    def run(self, x, context, probe=None, *, reverse=False):
        y, log_det = super().run(x, context, probe, reverse=reverse)
        return y, 0.5 * log_det


class OneWay(Scale):
    """log-determinants of the two directions that do not cancel."""

    def __init__(self):
        super().__init__(2.0)

    def inverse(self, y):
        return super().inverse(y)[0], y.new_zeros(len(y))


FORGETFUL = Flow(StandardGaussian((2,)), Forgetful(2.0))
BROKEN = {
    "log-determinants of all layers": lambda: checks.jacobians(lambda: {"scale": Forgetful(2.0)}),
    "inverses of all layers": lambda: checks.inverses(lambda: {"exponential": Wrong()}),
    "the volume of a matrix": lambda: checks.linear_volume(lambda w: Dense(1.001 * w)),
    "the log-normal density": lambda: checks.log_normal(Flow(StandardGaussian((1,)), Inverse(Wrong()))),
    "a flow's density integrates to 1": lambda: checks.plane_integral(FORGETFUL),
    "mass is carried": lambda: checks.line_quantiles(Flow(StandardGaussian((1,)), Forgetful(2.0))),
    "samples carry their density": lambda: checks.samples_and_density(Flow(StandardGaussian((3,)), OneWay())),
    "maximum likelihood of a linear flow": lambda: checks.entropy(3),
    "the flow of a linear ODE": lambda: checks.linear_ode(2),
    "gradients of a neural ODE": lambda: checks.adjoint(Short(checks.Turning(), 4)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_found(name):
    [check] = [check for check in checks.CHECKS if check.name == name]
    with torch.random.fork_rng(devices=[]):
        found = BROKEN[name]()
    error = abs(getattr(found, "error", found))
    assert not error <= check.tolerance  # nan is found too


def test_layers_are_away_from_the_identity():
    for name, layer in checks.layers().items():
        y, _ = layer.forward(checks.X)
        assert float((y - checks.X).abs().max()) > 1e-2, name
    assert isinstance(checks.layers()["LU"], LU) and Affine().count == 2
