"""Every score-matching loss, through an energy network, finds the Gaussian that it should: on all of it exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.energy import DenoisingAt, Explicit, FiniteDifference, Sliced, SlicedReduced
from pushforward.errors import UserError
from pushforward.models.energy import EnergyModel
from pushforward.networks.energy import InnerProduct, differentiable
from pushforward.networks.mlp import MLP
from pushforward.numerics.random import Draws

MEAN = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64)
ROOT = torch.tensor([[0.9, 0.0, 0.0], [0.3, 0.7, 0.0], [-0.2, 0.1, 1.1]], dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T


class Affine(nn.Module):
    """G(x) = W x + b, so that the energy is any quadratic."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, dim, dtype=torch.float64)

    def forward(self, x, time, label=None):
        return self.inner(x)


def precision(model):
    """Λ of the fitted energy."""
    x = torch.zeros(3, dtype=torch.float64)
    return torch.autograd.functional.hessian(lambda v: model.energy(v[None])[0], x)


def fitted(loss, count=4000):
    """The model whose loss on many points is least: the losses are quadratic in W and b."""
    torch.manual_seed(0)
    model = EnergyModel(InnerProduct(Affine(3)), (3,), loss, scale=1.3)
    draws = Draws.of(0, range(count), "data")
    z = draws.normal((3,), torch.float64)
    z = (z - z.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T, correction=0))).T
    batch = Batch(MEAN + z @ ROOT.T)  # moments are exact, so the minimum of the explicit loss is
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = model.loss("loss", batch, draws.at("loss")).mean()
        value.backward()
        return value

    optimiser.step(closure)
    return model


WANTED = torch.linalg.inv(COVARIANCE)
NOISED = torch.linalg.inv(COVARIANCE + 0.3**2 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("loss", "wanted", "tolerance"),
    [
        (Explicit(), WANTED, 1e-4),
        (SlicedReduced(), WANTED, 0.03),
        (Sliced(slices=2), WANTED, 0.1),
        (FiniteDifference(0.1), WANTED, 0.15),
        (DenoisingAt(0.3), NOISED, 0.09),
    ],
    ids=["explicit", "reduced", "sliced", "differences", "denoising"],
)
def test_an_energy_network_recovers_the_gaussian(loss, wanted, tolerance):
    model = fitted(loss)
    found = precision(model)
    assert float((found - wanted).norm() / wanted.norm()) < tolerance
    if wanted is NOISED:  # the control: it is not the density of the data itself
        assert float((found - WANTED).norm() / WANTED.norm()) > 0.15
    x = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(model.energy(x).sum(), x)[0][0]
    assert torch.allclose(torch.linalg.solve(found, -slope), MEAN, atol=max(tolerance, 0.02))


def slope_and_difference(norm):
    """The derivative of the explicit loss along its own gradient, by autograd and by finite differences."""
    torch.manual_seed(0)
    network = MLP(3, 8, 1)
    network.output.weight.data.normal_()
    potential = InnerProduct(network)
    norm(network)
    model = EnergyModel(potential, (3,), Explicit()).double()
    batch = Batch(Draws.of(0, range(20)).normal((3,), torch.float64))
    parameters = list(model.parameters())

    def loss():
        return model.loss("loss", batch, Draws.of(0, range(20))).mean()

    slope = torch.autograd.grad(loss(), parameters, allow_unused=True)
    slope = [torch.zeros_like(p) if g is None else g for g, p in zip(slope, parameters, strict=True)]
    step, values = 1e-5, []
    for sign in (1, -1):
        for p, g in zip(parameters, slope, strict=True):
            p.data.add_(sign * step * g)
        values.append(float(loss().detach()))
        for p, g in zip(parameters, slope, strict=True):
            p.data.sub_(sign * step * g)
    return sum(float(g.square().sum()) for g in slope), (values[0] - values[1]) / (2 * step)


def fused(network):
    network.norm = nn.LayerNorm(8)


def test_derivatives_of_the_third_order_are_right():
    by_autograd, by_differences = slope_and_difference(lambda network: None)
    assert by_autograd == pytest.approx(by_differences, rel=1e-5)
    wrong, other = slope_and_difference(fused)  # if torch mends its own, the replacement can go
    assert wrong != pytest.approx(other, rel=1e-3)


def test_layer_norms_are_replaced_without_a_change_of_values_or_names():
    x = Draws.of(0, range(5)).normal((4, 6))
    for norm in (nn.LayerNorm(6), nn.LayerNorm((4, 6), elementwise_affine=False), nn.LayerNorm(6, bias=False)):
        plain = differentiable(nn.Sequential(nn.Sequential(norm)))
        assert torch.allclose(plain(x), norm(x), atol=1e-5)
        assert plain.state_dict().keys() == nn.Sequential(nn.Sequential(norm)).state_dict().keys()


@pytest.mark.parametrize("make", [lambda: Sliced(0), lambda: SlicedReduced(0), lambda: DenoisingAt(0.0)])
def test_mistakes_are_said(make):
    with pytest.raises(UserError):
        make()
