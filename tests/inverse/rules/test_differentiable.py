"""Where the state takes gradients, a posterior's estimate has its derivative: densities, and rules upon rules."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse.linalg import aslinearoperator

from pushforward.denoisers import EDMPrediction, Mixture, MixtureDenoiser, NetworkDenoiser
from pushforward.denoisers.transport import transport
from pushforward.errors import UserError
from pushforward.inverse import (
    DPS,
    MMPS,
    TMPD,
    Categorical,
    Clip,
    DiffPIR,
    Gaussian,
    Mask,
    Matrix,
    PiGDM,
    PlugIn,
    Poisson,
    Proximal,
    ScoreALD,
    as_operator,
    condition,
    parallel,
)
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.divergence import Exact, divergence
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM

F64 = torch.float64
SHAPE, DIM = (1, 2, 2), 4
LEVEL = EDM().level(0.02)
ROOT = torch.tensor(
    [[0.5, 0.2, 0.0, 0.1], [0.0, 0.4, -0.3, 0.0], [0.0, 0.0, 0.3, 0.2], [0.0, 0.0, 0.0, 0.6]], dtype=F64
)
SEEN = Matrix(torch.tensor([[1.0, 0.5, 0.0, -0.2], [0.0, 1.0, 1.0, 0.3]], dtype=F64), SHAPE)
MASK = Mask(torch.tensor([[1, 0], [1, 1]]))
RULES = {
    "PiGDM": PiGDM(),
    "PiGDM, no Jacobian": PiGDM(jacobian=False),
    "MMPS": MMPS(),
    "MMPS, 3": MMPS(3),
    "TMPD": TMPD(),
    "DPS": DPS(),
    "plug-in": PlugIn(),
    "plug-in, widened": PlugIn(widening=1.0),
    "score-ALD": ScoreALD(),
    "proximal": Proximal(),
    "DiffPIR": DiffPIR(),
}


PATH = EDM(1e-3, 40.0)
PRIOR = Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, DIM, dtype=F64), (ROOT @ ROOT.T)[None])


def prior() -> MixtureDenoiser:
    return MixtureDenoiser(PRIOR, PATH)


def measured(operator, sigma: float = 0.3, batch: int = 3) -> Gaussian:
    draws = Draws.of(3, range(batch), "seen")
    return Gaussian.measure(operator, 0.5 * draws.at("x").normal(SHAPE, F64), sigma, draws)


class Curved(torch.nn.Module):
    """A smooth network whose derivative is not symmetric."""

    def forward(self, x, time, label=None):
        return torch.tanh(x @ ROOT[:2, :2] + 0.3 * x.flip(-1) ** 2)


@pytest.mark.parametrize("name", RULES)
def test_the_derivative_is_that_of_the_estimate(name):
    """Of a network that is no Gaussian's denoiser, against differences."""
    posterior = RULES[name](
        NetworkDenoiser(EDM(), Curved(), EDMPrediction(0.5)), measured(MASK if name == "TMPD" else SEEN)
    )
    x, along = (Draws.of(4, range(3), purpose).normal(SHAPE, F64) for purpose in ("x", "along"))
    state = x.clone().requires_grad_()
    mean = posterior(state, LEVEL).mean
    assert torch.allclose(mean, posterior(x, LEVEL).mean, rtol=0, atol=1e-12)
    weight = Draws.of(4, range(3), "weight").normal(SHAPE, F64)
    (pulled,) = torch.autograd.grad(mean, state, weight)
    step = 1e-5
    ahead, back = (posterior(x + sign * step * along, LEVEL).mean for sign in (1, -1))
    expected = ((ahead - back) / (2 * step) * weight).flatten(1).sum(1)
    assert torch.allclose((pulled * along).flatten(1).sum(1), expected, rtol=1e-6, atol=1e-8)


def test_the_density_of_a_posterior_in_closed_form():
    """Moment matching is exact for a Gaussian prior, so its probability flow has the density of p(x | y)."""
    seen = measured(SEEN, batch=1)
    posterior = MMPS(DIM, 0.0)(prior(), seen)
    x = 0.5 * Draws.of(5, range(3), "x").normal(SHAPE, F64)
    flow = transport(posterior, Adams(49, 3, Bunched(-0.3)), sigma_data=0.5)
    ends, log_det = flow.forward(x)
    (exact,) = condition(PRIOR, seen, SHAPE)
    found = log_det + MixtureDenoiser(exact, PATH).log_prob(ends.flatten(1), PATH.level(PATH.t_max))
    expected = MixtureDenoiser(exact, PATH).log_prob(x.flatten(1), CLEAN)
    assert torch.allclose(found, expected, rtol=0, atol=1e-3)


def test_a_rule_stands_on_the_posterior_of_another():
    """Two measurements, one after the other, are both known."""
    first, second = measured(SEEN), measured(MASK, 0.2)
    rule = MMPS(6, 0.0)
    nested = rule(rule(prior(), first), second)
    x = Draws.of(6, range(3), "x").normal(SHAPE, F64)
    whole = torch.cat((first.y / 0.3, second.y.flatten(1)[:, [0, 2, 3]] / 0.2), 1)
    scaled = Matrix(torch.cat((SEEN.matrix / 0.3, torch.eye(4, dtype=F64)[[0, 2, 3]] / 0.2)), SHAPE)
    expected = rule(prior(), Gaussian(scaled, whole, 1.0))(x, LEVEL).mean
    assert torch.allclose(nested(x, LEVEL).mean, expected, rtol=0, atol=1e-9)


def test_operators_of_ones_own_have_derivatives_too():
    """Of NumPy vectors, of a callable without an adjoint, and of sparse matrices; several directions at once."""
    rows = SEEN.matrix.numpy()
    reference = PiGDM()(prior(), measured(SEEN))
    x = Draws.of(7, range(3), "x").normal(SHAPE, F64)
    expected = divergence(lambda v: reference(v, LEVEL).mean, x, Exact(4))[1]
    for operator in (
        as_operator(aslinearoperator(rows), SHAPE),
        as_operator(lambda v: v.flatten(1) @ SEEN.matrix.T, SHAPE),
    ):
        posterior = PiGDM()(prior(), Gaussian(operator, measured(SEEN).y, 0.3))
        found = divergence(lambda v, posterior=posterior: posterior(v, LEVEL).mean, x, Exact(4))[1]
        assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    tomograph = PiGDM()(prior(), measured(parallel(2, 3)))
    one, many = (divergence(lambda v: tomograph(v, LEVEL).mean, x, Exact(chunk))[1] for chunk in (1, 4))
    assert torch.allclose(one, many, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("rule", "likelihood"),
    [
        (PiGDM(), Gaussian(Clip(-1.0, 1.0), torch.zeros(1, *SHAPE, dtype=F64), 0.1)),
        (Proximal(), Poisson(MASK, torch.ones(1, *SHAPE, dtype=F64), 5.0)),
        (PlugIn(), Categorical(lambda x: x.flatten(1), torch.tensor([1]))),
    ],
)
def test_what_has_no_derivative_is_refused_and_not_taken_for_zero(rule, likelihood):
    posterior = rule(prior(), likelihood)
    x = 0.1 * torch.ones(1, *SHAPE, dtype=F64)
    assert torch.isfinite(posterior(x, LEVEL).mean).all()
    with pytest.raises(UserError, match="has no derivative here, so it has no likelihood"):
        transport(posterior).forward(x)
    with pytest.raises(UserError, match="has no derivative here"):
        MMPS()(posterior, measured(MASK, batch=1))(x, LEVEL)
