"""Pairing noise with data: optimal where theory knows the optimum, marginals kept, flows straighter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.precondition import FlowPrediction
from pushforward.errors import UserError
from pushforward.models.diffusion import Diffusion
from pushforward.numerics.random import Draws, normal
from pushforward.objectives.coupling import Assignment, Sinkhorn, coupled, squared_distances
from pushforward.paths import VP, Straight
from pushforward.paths.times import Stratified, UniformTimes

B = 64


def pair(shape=(2,), seed=0):
    draws = Draws.of(seed, range(B))
    return 3 * draws.at("x").normal(shape) + 1, draws.at("z").normal(shape), draws


def test_on_the_line_the_optimum_keeps_the_order():
    x, z, draws = pair((1,))
    chosen = Assignment()(x, z, draws)
    assert torch.equal(torch.argsort(z[chosen][:, 0]), torch.argsort(x[:, 0]))
    assert sorted(chosen.tolist()) == list(range(B))


@pytest.mark.parametrize("shape", [(2,), (1, 3, 3)])
def test_no_exchange_of_two_is_cheaper(shape):
    x, z, draws = pair(shape)
    chosen = Assignment()(x, z, draws)
    costs = squared_distances(x, z)[:, chosen]
    own = costs.diagonal()
    assert (costs + costs.T >= own[:, None] + own[None] - 1e-9).all()
    assert float(own.sum()) < float(squared_distances(x, z).diagonal().sum())


def test_the_plan_has_its_marginals_and_tends_to_the_optimum():
    x, z, draws = pair()
    costs = squared_distances(x, z)
    plan = Sinkhorn(0.02, 500).plan(costs)
    assert torch.allclose(plan.sum(1), torch.ones(B, dtype=plan.dtype))
    assert torch.allclose(plan.sum(0), torch.ones(B, dtype=plan.dtype), atol=2e-2)
    optimum = float(costs.gather(1, Assignment()(x, z, draws)[:, None]).sum())
    sharp, blurred = (float((Sinkhorn(blur, 300).plan(costs) * costs).sum()) for blur in (0.005, 0.5))
    independent = float(costs.mean()) * B
    assert optimum * 0.999 <= sharp < 1.05 * optimum and sharp < blurred < independent


def test_drawn_from_the_plan_the_noise_stays_normal():
    noise = []
    for seed in range(40):
        x, z, draws = pair(seed=seed)
        noise.append(coupled(Sinkhorn(), x, z, None, draws))
    found = torch.cat(noise)
    assert abs(float(found.mean())) < 4 / math.sqrt(found.numel() / 2)
    assert float(found.std()) == pytest.approx(1, abs=0.05)


def test_noise_is_shared_within_a_class_only():
    x, z, draws = pair()
    labels = torch.arange(B) % 3
    x = x + 10 * labels[:, None]
    found = coupled(Assignment(), x, z, labels, draws)
    for label in range(3):
        rows = labels == label
        assert torch.equal(found[rows].sort(0).values, z[rows].sort(0).values)
        assert torch.equal(found[rows], coupled(Assignment(), x[rows], z[rows], None, draws[rows]))
    assert not torch.equal(found, z)


class Velocity(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, x, time, label=None):
        return self.net(torch.cat((x, time[:, None].to(x)), 1))


def two_clouds(draws):
    """N((±2, 0), 0.3²) with equal weights."""
    side = 4 * draws.at("side").integers(2).float() - 2
    return torch.stack((side, torch.zeros_like(side)), 1) + 0.3 * draws.at("place").normal((2,))


def trained(coupling):
    torch.manual_seed(0)
    times = Stratified(UniformTimes())
    model = Diffusion(Velocity(), Straight(), FlowPrediction(1.0), times, (2,), coupling=coupling)
    optimiser = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(180):
        index = torch.arange(128) + 128 * step
        draws = Draws.of(1, index)
        loss = model.loss("loss", Batch(two_clouds(draws.at("data"))), draws).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@torch.no_grad()
def flown(model, steps, count=1500):
    """Where Euler's steps end, and how far velocities are from the straight line to there, relative."""
    start = x = normal(torch.arange(count), (2,))
    denoiser, velocities = model.denoiser(), []
    for i in range(steps):
        level = model.path.level(1 - i / steps)
        velocities.append(denoiser.estimate(x, level).read(1.0, -1.0))  # towards the data
        x = x + velocities[-1] / steps
    line = x - start
    bend = torch.stack([(v - line).square().sum(1) for v in velocities]).mean() / line.square().sum(1).mean()
    return x, float(bend)


def distance(a, b):
    """Of the laws on the first axis, where the clouds lie apart: the mean difference of quantiles."""
    return float((a[:, 0].sort().values - b[:, 0].sort().values).abs().mean())


def test_flows_are_straighter_and_end_where_they_should():
    plain, straight = trained(None), trained(Assignment())
    data = two_clouds(Draws.of(9, range(1500)))
    (far, bent), (near, bend) = flown(plain, 30), flown(straight, 30)
    assert bend < 0.5 * bent
    assert distance(far, data) < 0.35 and distance(near, data) < 0.35
    once_plain, once = (distance(flown(model, 2)[0], data) for model in (plain, straight))
    assert once < 0.7 * once_plain


def test_another_path_or_a_senseless_plan_is_refused():
    with pytest.raises(UserError, match="straight path, that of flow matching; this one is VP"):
        Diffusion(Velocity(), VP(), FlowPrediction(1.0), UniformTimes(), (2,), coupling=Assignment())
    with pytest.raises(UserError, match="blur > 0"):
        Sinkhorn(0.0)
