"""Mixed tables: quantiles, a model that learns a dependence, and the metrics of tables."""

import numpy as np
import pytest
import torch

from pushforward.data import load
from pushforward.data.dataset import Batch
from pushforward.data.quantiles import KNOTS, from_normal, knots_of, to_normal
from pushforward.errors import UserError
from pushforward.metrics.tables import (
    Kinds,
    copied,
    evaluate_table,
    independent,
    marginal_distance,
    nearest_record,
    total_variation,
    usefulness,
)
from pushforward.models.mixed import Mixed
from pushforward.networks.mixed import MixedRows
from pushforward.numerics.random import Draws
from pushforward.paths.amounts import Constant, LogLinear
from pushforward.paths.generators import Absorbing, UniformJumps
from pushforward.paths.jump import JumpPath


def columns(n=3000):
    """A skewed column, one that is 0 most of the time, and whole numbers."""
    draws = Draws.of(0, range(n), "columns")
    z = draws.normal((3,), torch.float64)
    return torch.stack((z[:, 0].exp(), torch.where(z[:, 1] > 1, z[:, 1], 0.0), (3 * z[:, 2]).round()), 1)


def test_columns_become_normal_and_come_back():
    x = columns()
    knots = knots_of(x)
    z = to_normal(x, knots, Draws.of(1, range(len(x)), "place"))
    for i in range(3):
        values = z[:, i].double()
        assert abs(float(values.mean())) < 0.05 and float(values.std()) == pytest.approx(1, abs=0.05)
        assert abs(float((values**3).mean())) < 0.3
    back = from_normal(z, knots)
    assert torch.equal(back[:, 2].round(), x[:, 2])  # atoms exactly
    assert torch.equal(back[:, 1] == 0, x[:, 1] == 0)
    assert torch.allclose(back[:, 0], x[:, 0], atol=2e-2, rtol=1e-3)
    fresh = from_normal(Draws.of(2, range(4000), "fresh").normal((3,)), knots)
    assert float((fresh[:, 1] == 0).double().mean()) == pytest.approx(float((x[:, 1] == 0).double().mean()), abs=0.03)
    assert fresh.min() >= x.min() and fresh.max() <= x.max()


def rows(n=600):
    """A category of three, a number that follows it closely."""
    draws = Draws.of(5, range(n), "rows")
    kind = draws.at("kind").integers(3)
    value = kind.double() * 2 - 2 + 0.2 * draws.normal((), torch.float64)
    return torch.stack((value, kind.double()), 1).float()


@pytest.mark.parametrize(
    "process", [(Absorbing(3), LogLinear()), (UniformJumps(3), Constant(8.0))], ids=["mask", "uniform"]
)
def test_a_dependence_is_learned(process):
    torch.manual_seed(0)
    x, path = rows(), JumpPath(*process)
    model = Mixed(MixedRows(1, 1, path.generator.states, 3, 48, 2), path, [0], [1], [3], knots_of(x[:, :1]))
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(400):
        loss = model.loss(
            "loss", Batch(x[torch.arange(step * 64, step * 64 + 64) % 600]), Draws.of(step, range(64), "t")
        )
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    made = model.eval().sample(Draws.of(9, range(300)), steps=30)
    share = torch.bincount(made[:, 1].long(), minlength=3) / 300
    assert (share - 1 / 3).abs().max() < (0.15 if isinstance(path.generator, Absorbing) else 0.3)
    follows = ((made[:, 0] + 2) / 2).round() == made[:, 1]
    assert float(follows.double().mean()) > 0.85


def test_what_a_mixed_model_is_of():
    path = JumpPath(Absorbing(3), LogLinear())
    with pytest.raises(UserError, match="numbers and categories"):
        Mixed(MixedRows(1, 1, 4, 3, 8, 1), path, [0], [], [], torch.zeros(1, KNOTS))


def table(n, seed):
    draws = Draws.of(seed, range(n), "table")
    kind = draws.at("kind").integers(4).numpy().astype(float)
    numbers = kind[:, None] + 0.3 * draws.normal((4,)).numpy()
    answer = (kind > 1).astype(float)
    return np.column_stack((numbers, kind, answer))


def test_metrics_tell_tables_apart():
    train, test, kinds = table(800, 0), table(300, 1), Kinds(np.arange(6) > 3, tuple("abcdef"))
    real = evaluate_table(table(800, 2), train, test, kinds)
    alone = evaluate_table(independent(train, 800), train, test, kinds)
    theft = evaluate_table(copied(train, kinds.coded, 800), train, test, kinds)
    assert real["distance of pairs"].value < 1.5 * real["distance of pairs"].floor
    assert alone["distance of pairs"].value > 4 * alone["distance of pairs"].floor
    assert alone["distance of marginals"].value < 2 * alone["distance of marginals"].floor
    assert real["usefulness"].value > 0.95 and alone["usefulness"].value < 0.8
    assert real["near copies"].value < 0.12 and theft["near copies"].value > 0.3
    assert theft["distance to the closest record"].value < 0.6 * real["distance to the closest record"].floor


def test_one_column_has_no_pairs():
    column = table(200, 0)[:, 4:5]
    found = evaluate_table(column, column, table(60, 1)[:, 4:5], Kinds(np.array([True]), ("k",)))
    assert [row.name for row in found] == ["distance of marginals", "distance to the closest record", "near copies"]


def test_a_class_of_one_row_in_a_large_table_is_no_obstacle():
    rows = np.repeat(table(500, 0)[:, 3:], 21, axis=0)
    rows[0, 2] = 5.0
    assert usefulness(rows, rows[:50], 2, np.array([False, True, True])) > 0.9


def test_small_numbers_by_hand():
    assert total_variation(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == pytest.approx(0.25)
    assert marginal_distance(np.array([[0, 0], [1, 1]]), np.array([[0, 1], [1, 1]])) == pytest.approx(0.25)
    train = np.array([[0.0, 1.0], [10.0, 2.0]])
    near = nearest_record(np.array([[1.0, 1.0], [10.0, 0.0]]), train, np.array([False, True]))
    assert near == pytest.approx([0.05, 0.5])


def test_categories_of_other_files_take_the_same_codes(tmp_path):
    (tmp_path / "a.csv").write_text("x,k\n" + "1.5,blue\n2.5,red\n" * 10)
    (tmp_path / "b.csv").write_text("x,k\n" + "1.5,red\n" * 4)
    data = load(tmp_path / "a.csv", validation=tmp_path / "b.csv", test=0.0)
    assert set(data.validation.values[:, 1]) == {1.0} and data.format.coding.categories == (None, ("blue", "red"))
    assert data.format.coding.named(np.array([1.0, 0.0]), 1).tolist() == ["red", "blue"]
    stored = type(data.format).from_dict(data.format.to_dict())
    assert stored == data.format
    (tmp_path / "c.csv").write_text("x,k\n" + "1.5,green\n" * 4)
    with pytest.raises(UserError, match="'green' in column 'k'"):
        load(tmp_path / "a.csv", validation=tmp_path / "c.csv")
    with pytest.raises(UserError, match="did you mean 'k'"):
        load(tmp_path / "a.csv", categories=("kk",))
