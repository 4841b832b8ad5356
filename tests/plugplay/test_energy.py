"""The energies against closed forms; each check of `verify` must see what is wrong on purpose."""

import torch

from pushforward.numerics.random import Draws
from pushforward.paths.processes import EDM, VP
from pushforward.plugplay import Cells, DenoisingEnergy, elbo, published, uniform
from pushforward.verification import plugplay


def test_weights_sum_to_what_they_say():
    for path in (VP(), EDM()):
        cells = Cells.of(path, elbo, 1, 64)
        ends = path.log_ratio(torch.tensor([path.t_max, path.t_min], dtype=torch.float64))
        assert abs(cells.total - float(ends[1] - ends[0])) < 1e-9
        assert abs(Cells.of(path, uniform, 10).total - 1) < 1e-9
        assert abs(Cells.of(path, published, 10).total - 0.1) < 1e-9


def test_drawn_levels_follow_the_weights():
    n, path = 20_000, VP()
    draws = Draws.of(0, range(n))
    even = Cells.of(path, elbo, 1).draw(draws).log_ratio
    ends = path.log_ratio(torch.tensor([path.t_max, path.t_min], dtype=torch.float64))
    share = (even - ends[0]) / (ends[1] - ends[0])
    assert abs(float(share.mean()) - 0.5) < 4 * (1 / 12 / n) ** 0.5
    times = Cells.of(path, uniform, 1).draw(draws).t
    assert abs(float(times.mean()) - 0.5) < 4 * (1 / 12 / n) ** 0.5


def test_one_draw_is_right_on_the_average():
    energy = DenoisingEnergy(plugplay.prior(), pairs=True)
    n = 20_000
    draws = Draws.of(3, list(range(n)))
    difference = energy.everywhere(torch.ones(n, 1, dtype=torch.float64), draws) - energy.everywhere(
        torch.zeros(n, 1, dtype=torch.float64), draws
    )
    error = float(difference.std()) / n**0.5
    assert abs(float(difference.mean()) - 1 / (2 * plugplay.VARIANCE)) < 4 * error


def test_the_checks_hold_and_see_what_is_wrong():
    assert plugplay.bound_is_density().error < 0.005
    assert plugplay.uniform_is_not().error < 0.01
    assert plugplay.smoothed_gradient() < 1e-9


def test_the_quadratic_oracle():
    assert abs(plugplay.posterior_mean().error) < 0.03
    assert abs(plugplay.posterior_mean(uniform).error) > 0.2
