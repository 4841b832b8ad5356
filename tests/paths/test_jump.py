"""Jump processes against matrix exponentials, and large ones without matrices."""

import math

import pytest
import torch

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.amounts import Constant, Geometric, LogLinear
from pushforward.paths.generators import Absorbing, BirthDeath, Reversible, UniformJumps, gaussian_jumps
from pushforward.paths.grids import Uniform
from pushforward.paths.jump import JumpPath

GENERATORS = {
    "uniform": UniformJumps(7),
    "absorbing": Absorbing(5),
    "birth-death": BirthDeath(9),
    "gaussian": gaussian_jumps(8, 2.0, 3.0),
    "two": UniformJumps(2),
    "gaussian 256": gaussian_jumps(256),
    "birth-death 256": BirthDeath(256),
}
SMALL = ["uniform", "absorbing", "birth-death", "gaussian", "two"]


def matrix(generator):
    """R as a matrix, from its rows alone."""
    off = generator.out(torch.arange(generator.states))
    return off - torch.diag(off.sum(1))


@pytest.fixture(params=GENERATORS, ids=str)
def generator(request):
    return GENERATORS[request.param]


@pytest.mark.parametrize("c", [1e-3, 0.7, 30.0])
def test_transitions_are_matrix_exponentials(generator, c):
    truth = torch.linalg.matrix_exp(c * matrix(generator))
    assert (generator.transition(c) - truth[: generator.symbols]).abs().max() < 1e-12
    every = torch.arange(generator.states)
    assert (generator.column(every, c) - truth.T).abs().max() < 1e-12


def test_rates_in_and_out_are_one_matrix(generator):
    every = torch.arange(generator.states)
    assert torch.equal(generator.into(every), generator.out(every).T)
    assert generator.out(every).diagonal().abs().max() == 0
    assert (generator.limit() @ matrix(generator)).abs().max() < 1e-12
    spectrum = torch.linalg.eigvals(matrix(generator)).real.sort().values
    assert generator.gap == pytest.approx(-float(spectrum[-2]), abs=1e-9)


def test_amounts_per_sample_are_those_of_each(generator):
    c = torch.tensor([0.1, 2.0, 0.5])
    weights = torch.rand(3, 2, generator.symbols, dtype=torch.float64)
    together = generator.push(weights, c)
    for i, one in enumerate(c.double().tolist()):
        assert torch.allclose(together[i], generator.push(weights[i], one), atol=1e-14)


@pytest.mark.parametrize("name", SMALL)
def test_corruption_has_the_law_of_the_transition(name):
    path = JumpPath(GENERATORS[name], Constant(2.0))
    n, level = 20_000, path.level(0.4)
    truth = path.generator.transition(float(path.total(level)))
    for x0 in (0, path.generator.symbols - 1):
        x = path.corrupt(torch.full((n, 1), x0), level, Draws.of(0, range(n), "corrupt"))
        share = torch.bincount(x.flatten(), minlength=path.generator.states) / n
        assert (share - truth[x0]).abs().max() < 4 * math.sqrt(0.25 / n)


def test_detailed_balance_of_gaussian_rates():
    for symbols in (8, 256):
        rates = gaussian_jumps(symbols, 6.0, symbols / 2)
        flow = rates.law[:, None] * rates.off
        assert (flow - flow.T).abs().max() < 1e-16
        x = torch.arange(symbols).double()
        wanted = torch.exp(-((x + 1 - symbols / 2) ** 2) / (2 * (symbols / 2) ** 2))
        assert torch.allclose(rates.limit(), wanted / wanted.sum())


def test_fifty_thousand_states_take_no_matrix():
    for generator in (UniformJumps(50_000), Absorbing(50_000), BirthDeath(50_000)):
        weights = torch.zeros(2, 3, 50_000)
        weights[..., 17] = 1.0
        pushed = generator.push(weights, torch.tensor([0.1, 2.0]))
        assert pushed.shape[-1] == generator.states and torch.allclose(
            pushed.sum(-1).double(), torch.ones(2, 3).double()
        )
        assert generator.column(torch.full((2, 3), 17), 0.5)[0, 0, 17] > 0
        with pytest.raises(UserError, match="too large"):
            generator.transition(1.0)


@pytest.mark.parametrize("amount", [Constant(3.0), Geometric(3.0, 100.0), LogLinear(1e-3), LogLinear()])
def test_speed_is_the_derivative(amount):
    t = torch.linspace(0.01, 0.95, 7, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(amount.total(t).sum(), t)
    assert torch.allclose(derivative, amount.speed(t.detach()))
    assert float(amount.total(torch.zeros(1, dtype=torch.float64))) == 0


def test_levels_fit_the_grids():
    for generator in (GENERATORS["birth-death 256"], GENERATORS["gaussian 256"], Absorbing(4)):
        amount = LogLinear() if isinstance(generator, Absorbing) else Geometric(0.5, 1e4)
        levels = Uniform()(JumpPath(generator, amount), 8)
        ratios = [level.ratio for level in levels]
        assert ratios == sorted(ratios, reverse=True) and len(set(ratios)) == 9
    assert JumpPath(Absorbing(3), LogLinear(1e-3)).level(0.25).alpha == pytest.approx(1 - 0.25 * 0.999)


def test_the_piano_model_retains_two_per_cent():
    path = JumpPath(UniformJumps(129), Constant(0.03 * 129))
    assert path.level(1.0).alpha == pytest.approx(0.0209, abs=1e-4)


def test_what_cannot_be():
    with pytest.raises(UserError, match="nothing to learn"):
        UniformJumps(1)
    with pytest.raises(UserError, match="balance"):
        Reversible(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.tensor([0.5, 0.5]))
    for law, rate in ((0.0, 1.0), (0.5, math.nan)):
        with pytest.raises(UserError, match="above 0"):
            Reversible(torch.tensor([[0.0, rate], [rate, 0.0]]), torch.tensor([0.5, law]))
    with pytest.raises(UserError, match="t_min"):
        JumpPath(Absorbing(3), LogLinear(), t_min=0.0)
