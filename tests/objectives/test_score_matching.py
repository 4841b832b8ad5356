"""Score matching of a Gaussian by a Gaussian, where J and its minimum are known: every loss has that expectation."""

import pytest
import torch
from torch import nn

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.score_matching import (
    denoising_score_loss,
    explicit_loss,
    finite_difference_loss,
    fisher_divergence,
    gaussian_probe,
    rademacher_probe,
    score_of,
    sliced_loss,
    sliced_loss_reduced,
    sphere_probe,
)

D = 4
MU = torch.tensor([0.3, -0.5, 0.1, 0.8], dtype=torch.float64)
ROOT = torch.tensor(
    [[0.9, 0.0, 0.0, 0.0], [0.3, 0.7, 0.0, 0.0], [-0.2, 0.1, 1.1, 0.0], [0.4, -0.3, 0.2, 0.8]], dtype=torch.float64
)
SIGMA = ROOT @ ROOT.T
NU = torch.tensor([-0.4, 0.2, 0.5, 0.1], dtype=torch.float64)
LAMBDA = torch.linalg.inv(SIGMA) * 0.6 + 0.8 * torch.eye(D, dtype=torch.float64)


def data(count, seed=0):
    return MU + Draws.of(seed, range(count), "data").normal((D,), torch.float64) @ ROOT.T


def model_score(x):
    return -(x - NU) @ LAMBDA


def model_log_density(x):
    return -0.5 * ((x - NU) @ LAMBDA * (x - NU)).sum(1)


def closed_j(precision=LAMBDA, centre=NU, covariance=SIGMA):
    """½tr(Λ²Σ) + ½‖Λ(μ − ν)‖² − tr Λ."""
    gap = precision @ (MU - centre)
    return float(0.5 * torch.trace(precision @ precision @ covariance) + 0.5 * gap @ gap - torch.trace(precision))


LOSSES = {
    "explicit": lambda score, log_p, x, d: explicit_loss(score, x),
    "sliced": lambda score, log_p, x, d: sliced_loss(score, x, d),
    "sliced-gauss": lambda score, log_p, x, d: sliced_loss(score, x, d, probe=gaussian_probe),
    "sliced-sphere": lambda score, log_p, x, d: sliced_loss(score, x, d, probe=sphere_probe),
    "reduced": lambda score, log_p, x, d: sliced_loss_reduced(score, x, d),
    "reduced-gauss": lambda score, log_p, x, d: sliced_loss_reduced(score, x, d, probe=gaussian_probe, slices=2),
    "differences": lambda score, log_p, x, d: finite_difference_loss(log_p, x, d, step=0.5),
    "differences-small": lambda score, log_p, x, d: finite_difference_loss(log_p, x, d, step=0.01),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_has_the_expectation_of_the_closed_form(loss):
    values = loss(model_score, model_log_density, data(100_000), Draws.of(1, range(100_000)))
    error = float(values.detach().std()) / len(values) ** 0.5
    assert values.shape == (100_000,)
    assert values.mean().item() == pytest.approx(closed_j(), abs=4 * error)
    assert error < 0.06


def test_j_and_the_fisher_divergence_differ_by_what_does_not_depend_on_the_model():
    x = data(50_000)

    def truth(x):
        return -(x - MU) @ torch.linalg.inv(SIGMA)

    constant = 0.5 * float(torch.trace(torch.linalg.inv(SIGMA)))
    fisher = fisher_divergence(model_score, truth, x)
    assert float(fisher.mean()) == pytest.approx(closed_j() + constant, rel=0.03)
    assert closed_j(torch.linalg.inv(SIGMA), MU) == pytest.approx(-constant)  # the minimum
    assert float(fisher_divergence(truth, truth, x).max()) == 0.0


def test_variance_reduction_removes_nearly_all_noise_of_the_projection():
    """Published order: sliced Gaussian > Rademacher > reduced ≈ explicit."""
    x, d = data(50_000), Draws.of(2, range(50_000))
    spread = {k: loss(model_score, model_log_density, x, d).detach().std().item() for k, loss in LOSSES.items()}
    assert spread["sliced-gauss"] > spread["sliced"] > 1.3 * spread["reduced"]
    assert spread["reduced"] < 1.15 * spread["explicit"]
    many = sliced_loss(model_score, x, d, slices=16)
    assert float(many.detach().std()) < 0.8 * spread["sliced"]


def test_probes_have_unit_covariance_and_the_sphere_its_radius():
    x = torch.zeros(40_000, 3, dtype=torch.float64)
    for probe in (gaussian_probe, rademacher_probe, sphere_probe):
        v = probe(Draws.of(0, range(40_000)), x)
        assert torch.allclose(v.T @ v / len(v), torch.eye(3, dtype=torch.float64), atol=0.03)
    assert torch.allclose(v.norm(dim=1), torch.full((40_000,), 3**0.5, dtype=torch.float64))
    signs = rademacher_probe(Draws.of(0, range(100)), x[:100])
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_denoising_loss_is_j_of_the_noised_data_plus_a_constant(sigma):
    values = denoising_score_loss(model_score, data(200_000), sigma, Draws.of(3, range(200_000)))
    noised = SIGMA + sigma**2 * torch.eye(D, dtype=torch.float64)
    expected = closed_j(covariance=noised) + D / (2 * sigma**2)
    assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / 200_000**0.5)
    each = denoising_score_loss(model_score, data(4), torch.tensor([0.1, 0.2, 0.3, 0.4]), Draws.of(3, range(4)))
    alone = denoising_score_loss(model_score, data(4)[2:3], 0.3, Draws.of(3, [2]))
    assert each[2].item() == pytest.approx(alone.item(), rel=1e-6)


class Gaussian(nn.Module):
    """−½(x − ν)ᵀΛ(x − ν) with Λ and Λν as parameters: a score that is linear in them."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(D, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(D, dtype=torch.float64))

    def precision(self):
        return (self.matrix + self.matrix.T) / 2

    def log_density(self, x):
        return -0.5 * (x @ self.precision() * x).sum(1) + x @ self.shift

    def forward(self, x):
        return self.shift - x @ self.precision()


def fit(loss):
    model, x, d = Gaussian(), data(20_000), Draws.of(4, range(20_000))
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = loss(model, model.log_density, x, d).mean()
        value.backward()
        return value

    optimiser.step(closure)
    return model.precision().detach()


@pytest.mark.parametrize(
    ("name", "tolerance"), [("explicit", 0.03), ("reduced", 0.03), ("sliced", 0.06), ("differences", 0.06)]
)
def test_each_loss_recovers_the_precision_of_the_data(name, tolerance):
    truth = torch.linalg.inv(SIGMA)
    assert float((fit(LOSSES[name]) - truth).norm() / truth.norm()) < tolerance


def test_the_denoising_loss_recovers_the_noised_precision_and_not_the_clean_one():
    found = fit(lambda score, log_p, x, d: denoising_score_loss(score, x, 0.5, d))
    noised = torch.linalg.inv(SIGMA + 0.25 * torch.eye(D, dtype=torch.float64))
    clean = torch.linalg.inv(SIGMA)
    assert float((found - noised).norm() / noised.norm()) < 0.04
    assert float((found - clean).norm() / clean.norm()) > 0.2


def test_energy_networks_are_differentiated_twice():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(D, 16), nn.SiLU(), nn.Linear(16, 1)).double()

    def log_density(x):
        return net(x)[:, 0]

    score, x = score_of(log_density), data(6)
    hessian = torch.stack([torch.autograd.functional.hessian(lambda y: log_density(y[None])[0], row) for row in x])
    gradient = torch.stack([torch.autograd.functional.jacobian(lambda y: log_density(y[None])[0], row) for row in x])
    exact = hessian.diagonal(dim1=1, dim2=2).sum(1) + 0.5 * gradient.square().sum(1)
    assert torch.allclose(explicit_loss(score, x), exact)
    for loss in (explicit_loss(score, x), sliced_loss(score, x, Draws.of(0, range(6)))):
        net.zero_grad()
        loss.mean().backward()
        assert float(net[0].weight.grad.abs().sum()) > 0
    with torch.no_grad():
        assert torch.allclose(explicit_loss(score, x), exact)


def test_images_and_scores_that_do_not_depend_on_x():
    x = data(3).reshape(3, 1, 2, 2)
    constant = nn.Parameter(torch.ones(1, 2, 2, dtype=torch.float64))
    assert explicit_loss(lambda x: constant.expand_as(x), x).tolist() == [2.0, 2.0, 2.0]
    assert explicit_loss(lambda x: torch.ones_like(x), x).tolist() == [2.0, 2.0, 2.0]
    assert torch.allclose(explicit_loss(lambda x: -x, x), -4 + 0.5 * x.square().sum((1, 2, 3)))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: explicit_loss(lambda x: x.sum(1), data(3)), "shape of its data"),
        (lambda: explicit_loss(score_of(lambda x: x), data(3)), "one number per sample"),
        (lambda: finite_difference_loss(model_log_density, data(3), Draws.of(0, range(3)), step=0.0), "positive"),
    ],
)
def test_what_score_matching_refuses(bad, says):
    with pytest.raises(UserError, match=says):
        bad()
