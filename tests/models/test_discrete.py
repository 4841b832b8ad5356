"""Discrete models assembled: with the exact answers as their network they draw the law, whatever is given."""

import math

import pytest
import torch
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.table_oracle import TableDenoiser
from pushforward.errors import UserError
from pushforward.models.discrete import Discrete, JumpSampling
from pushforward.networks.integers import RowLogits
from pushforward.numerics.random import Draws
from pushforward.objectives.masked import Blocks
from pushforward.paths.amounts import Constant, LogLinear
from pushforward.paths.generators import Absorbing, UniformJumps
from pushforward.paths.jump import JumpPath
from pushforward.samplers.jump import JumpAncestral, JumpCorrected, JumpEuler

MASKED = JumpPath(Absorbing(4), LogLinear())
UNIFORM = JumpPath(UniformJumps(4), Constant(8.0))


def law(sites=3, symbols=4):
    """A table of sites that are mostly equal."""
    table = Draws.of(0, range(1), "law").uniform((symbols,) * sites, torch.float64)[0] ** 3
    for symbol in range(symbols):
        table[(symbol,) * sites] += 2
    return table / table.sum()


class Exact(nn.Module):
    """The true law of each site given the others as a network; remembers what it was given."""

    def __init__(self, table, path):
        super().__init__()
        self.exact, self.times, self.states = TableDenoiser(table, path), [], []

    def forward(self, x, time, label=None):
        t = (time.double() + 3) / 6
        self.states.append(x)
        self.times.append((t, (x == self.exact.path.generator.symbols).double().mean(1)))
        return self.exact.outside(x, self.exact.path.level(t.clamp(0, 1)))


def model_of(path, timeless):
    table = law()
    return Discrete(Exact(table, path), path, (3,), timeless=timeless).eval(), table


def off_by(x, table):
    index = (16 * x[:, 0] + 4 * x[:, 1] + x[:, 2]).long()
    return 0.5 * float((torch.bincount(index, minlength=64).double() / len(x) - table.flatten()).abs().sum())


@pytest.mark.parametrize(("path", "timeless"), [(MASKED, True), (UNIFORM, False)], ids=["masked", "uniform"])
def test_the_usual_way_draws_the_law_of_few_sites(path, timeless):
    model, table = model_of(path, timeless)
    n = 1000
    assert off_by(model.sample(Draws.of(1, range(n))), table) < 1.4 * math.sqrt(64 / (2 * math.pi * n))


@pytest.mark.parametrize("step", [JumpAncestral(), JumpCorrected(JumpAncestral()), None], ids=["plain", "pc", "one"])
def test_what_is_given_stays_and_is_a_condition(step):
    model, table = model_of(MASKED, True)
    n = 1000
    known, where = torch.tensor([[2, 0, 0]]).expand(n, -1), torch.tensor([[True, False, False]]).expand(n, -1)
    way = JumpSampling(None if step is None else 24, step)
    x = model.sample(Draws.of(2, range(n)), None, way, known=known, where=where)
    assert bool((x[:, 0] == 2).all())
    wanted = torch.zeros_like(table)
    wanted[2] = table[2] / table[2].sum()
    assert off_by(x, wanted) < 1.6 * math.sqrt(16 / (2 * math.pi * n)) + 0.01


def test_what_is_given_to_jumps_that_hide_nothing_begins_as_noise():
    model, _ = model_of(UNIFORM, False)
    known, where = torch.full((300, 3), 2), torch.tensor([[True, False, False]]).expand(300, -1)
    way = JumpSampling(20, JumpEuler())
    x = model.sample(Draws.of(3, range(300)), None, way, known=known, where=where)
    assert bool((x[:, 0] == 2).all())
    seen = model.network.states
    assert float((seen[0][:, 0] == 2).double().mean()) < 0.4 and float((seen[-1][:, 0] == 2).double().mean()) > 0.6


def test_a_network_that_is_told_the_time_is_told_how_much_is_hidden():
    model, _ = model_of(MASKED, False)
    network, draws = model.network, Draws.of(0, range(6))
    x0 = model.sample(draws, None, JumpSampling(step=None))
    model.bound(x0, None, draws, 2, Blocks(1))
    assert len(network.times) == 3 + 2 * 3
    for t, hidden in network.times:
        assert torch.allclose(t, hidden, atol=2e-3)


def columns(**settings):
    """Columns of 2, 5 and 3 values with classes."""
    network = RowLogits(3, 6, 5, 8, 1, num_classes=2)
    nn.init.normal_(network.mlp.output.weight)
    sizes = torch.tensor([2, 5, 3])
    return Discrete(network, JumpPath(Absorbing(5), LogLinear()), (3,), sizes=sizes, num_classes=2, **settings).eval()


def test_guidance_keeps_to_the_values_of_a_column():
    model, labels = columns(), torch.arange(200) % 2
    x = model.sample(Draws.of(0, range(200)), labels, guidance=2.5)
    assert (x.amax(0) < torch.tensor([2, 5, 3])).all() and (x.amax(0) > 0).all()


def test_what_is_no_value_of_a_column_is_refused():
    model = columns()
    right, wrong = (Batch(torch.tensor([[first, 4, 2]]), torch.tensor([1])) for first in (1, 2))
    assert torch.isfinite(model.loss("loss", right, Draws.of(0, range(1)))).all()
    with pytest.raises(UserError, match="in a column"):
        model.loss("loss", wrong, Draws.of(0, range(1)))
    with pytest.raises(UserError, match=r"0 … 4; the data has 5"):
        model.symbols(torch.tensor([[1, 5, 2]]))


def test_settings_without_a_meaning_are_refused():
    with pytest.raises(UserError, match="leave out auxiliary"):
        columns(auxiliary=0.1)
    assert columns(auxiliary=0.1, by_count=False).auxiliary == 0.1
    model, _ = model_of(MASKED, True)
    for given in (3, -1):
        with pytest.raises(UserError, match="0 to 2 can be given"):
            model.bound(torch.zeros(2, 3, dtype=torch.int64), None, Draws.of(0, range(2)), given=given)
