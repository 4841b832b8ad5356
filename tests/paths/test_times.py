"""Laws of training times: their distributions, evenness, importance weights, and exact resume."""

import math

import pytest
import torch

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, CosineVP, Straight, SubVP, Table, linear_betas
from pushforward.paths.times import (
    LogitNormalTimes,
    LogNormalTimes,
    LossAware,
    Stratified,
    Times,
    UniformLevels,
    UniformTimes,
)

PATHS = [VP(), SubVP(), VE(), EDM(), Straight(), CosineVP(), Table.of_betas(linear_betas(100))]
LAWS = [UniformTimes(), LogNormalTimes(), LogitNormalTimes(), UniformLevels(100), Stratified(LogNormalTimes())]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("law", [*LAWS, LossAware(UniformTimes())], ids=lambda law: type(law).__name__)
def test_every_law_gives_times_of_the_path_and_the_same_alone_as_in_a_batch(law, path):
    times = law(path, Draws.of(3, range(500)))
    assert times.t.shape == (500,)
    assert times.t.dtype == torch.float64
    if isinstance(law, UniformLevels):
        assert float(times.t.min()) >= 0.01
    else:
        assert bool(((times.t >= path.t_min) & (times.t <= path.t_max)).all())
    alone = law(path, Draws.of(3, [17]))
    assert torch.equal(alone.t, times.t[17:18])


def test_log_normal_times_have_the_published_law_and_follow_the_data_scale():
    path = EDM()
    for data in (0.5, 2.0):
        t = LogNormalTimes(sigma_data=data)(path, Draws.of(0, range(20000))).t
        log_sigma = torch.log(path.scales(t)[1])
        assert float(log_sigma.mean()) == pytest.approx(-1.2 + math.log(data / 0.5), abs=0.03)
        assert float(log_sigma.std()) == pytest.approx(1.2, abs=0.03)


def test_cut_laws_have_no_mass_at_the_ends():
    """Clamping would put a share of all times on t_min; cutting spreads it."""
    path = VP(t_min=0.2)
    t = LogNormalTimes()(path, Draws.of(0, range(5000))).t
    assert float((t == path.t_min).double().mean()) == 0.0
    median = float(path.log_ratio(t).median())
    ends = torch.special.ndtr((-path.log_ratio(torch.tensor([0.2, 1.0], dtype=torch.float64)) + 1.2) / 1.2)
    expected = -(-1.2 + 1.2 * float(torch.special.ndtri(ends.mean())))
    assert median == pytest.approx(expected, abs=0.05)
    with pytest.raises(UserError, match="no mass"):
        LogNormalTimes(mean=-200.0)(path, Draws.of(0, range(5)))


def test_logit_normal_times():
    t = LogitNormalTimes(0.5, 0.8)(Straight(), Draws.of(0, range(20000))).t
    logit = torch.logit(t)
    assert float(logit.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(logit.std()) == pytest.approx(0.8, abs=0.03)


def test_uniform_levels_are_equally_likely():
    table = Table.of_betas(linear_betas(4))
    t = UniformLevels(4)(table, Draws.of(0, range(8000))).t
    shares = torch.bincount((4 * t).round().long(), minlength=5) / 8000
    assert float(shares[0]) == 0.0
    assert torch.allclose(shares[1:], torch.full((4,), 0.25), atol=0.02)


@pytest.mark.parametrize("start", [0, 1000, 10**12])
@pytest.mark.parametrize("count", [8, 64, 1000])
def test_any_run_of_stratified_times_is_even(start, count):
    path = VE()
    t = Stratified(UniformTimes(), 0.3)(path, Draws.of(0, range(start, start + count))).t
    ordered = torch.sort(t).values
    position = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    assert float((ordered - position).abs().max()) < 2.0 / count  # random times: about 1/√count
    alone = Stratified(UniformTimes(), 0.3)(path, Draws.of(5, [start + 3])).t
    assert torch.equal(alone, t[3:4])


def test_stratified_offset_turns_the_sequence():
    d = Draws.of(0, range(100))
    for offset in (0.25, 0.5, 0.75):
        first, second = (Stratified(UniformTimes(), o)(VE(), d).t for o in (0.0, offset))
        assert torch.allclose((second - first) % 1.0, torch.tensor(offset, dtype=torch.float64), atol=1e-12)
    golden = torch.arange(100, dtype=torch.float64) * 0.6180339887498949 % 1.0
    assert torch.allclose(Stratified(UniformTimes())(VE(), d).t[1:], golden[1:], atol=1e-12)


def test_loss_aware_times_follow_the_loss_and_weigh_it_out_again():
    path, law = VE(), LossAware(UniformTimes(), cells=8)
    for step in range(40):
        times = law(path, Draws.of(step, range(512)))
        law.observe(times, 1.0 + 9.0 * (times.t > 0.75))
    times = law(path, Draws.of(99, range(40000)))
    share = float((times.t > 0.75).double().mean())
    assert share == pytest.approx(20 / 26, abs=0.02)  # 2 cells of loss 10, 6 of loss 1
    assert float((times.weight * (1.0 + 9.0 * (times.t > 0.75))).mean()) == pytest.approx(3.25, rel=0.02)


def test_loss_aware_state_resumes_exactly_and_does_not_depend_on_order():
    path, law = VE(), LossAware(UniformTimes(), cells=4)
    times = law(path, Draws.of(0, range(64)))
    loss = times.t * 3
    law.observe(times, loss)
    again = LossAware(UniformTimes(), cells=4)
    again.load_state_dict(law.state_dict())
    a, b = (x(path, Draws.of(1, range(64))) for x in (law, again))
    assert torch.equal(a.t, b.t)
    assert torch.equal(a.weight, b.weight)
    assert set(law.state_dict()) == {"second", "seen"}


def test_loss_aware_uses_the_law_itself_until_every_cell_is_known():
    law = LossAware(UniformTimes(), cells=4)
    law.observe(Times(torch.tensor([0.1]), None, torch.tensor([0])), torch.tensor([5.0]))
    assert torch.equal(law.probabilities(), torch.full((4,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize(
    "bad",
    [
        lambda: LogNormalTimes(sd=0.0),
        lambda: LogNormalTimes(sigma_data=-1.0),
        lambda: LogitNormalTimes(sd=math.nan),
        lambda: LossAware(UniformTimes(), cells=1),
        lambda: LossAware(UniformTimes()).observe(Times(torch.zeros(1)), torch.zeros(1)),
    ],
)
def test_what_laws_refuse(bad):
    with pytest.raises(UserError, match=r"\w"):
        bad()


def test_averages_do_not_depend_on_how_a_step_is_cut():
    path, whole, cut = VE(), LossAware(UniformTimes(), cells=8), LossAware(UniformTimes(), cells=8)
    for step in range(3):
        draws = Draws.of(step, range(64))
        times, losses = whole(path, draws), torch.linspace(0.5, 4, 64)
        whole.observe(times, losses)
        first, second = cut(path, draws[torch.arange(20)]), cut(path, draws[torch.arange(20, 64)])
        cut.tally(first, losses[:20])
        other = LossAware(cut.law, cells=8)  # another process's part of the step
        other.tally(second, losses[20:])
        cut.settle(lambda sums, other=other: sums + other._tallied)
        assert torch.allclose(whole.second, cut.second) and torch.equal(whole.seen, cut.seen)
    assert float(whole.second.max()) > 1
