"""What is learned: symmetries of the network, items as pure functions, a prior that beats the control."""

import numpy as np
import pytest
import torch

from pushforward.combinatorial.features import features_of
from pushforward.combinatorial.graph import FEATURES, PATH, GraphDiffusion, halved, whole
from pushforward.combinatorial.independent_set import IndependentSet, random_graphs
from pushforward.combinatorial.items import GraphItems, ImageItems, SolvedItems, dihedral, solved_sets, solved_tours
from pushforward.combinatorial.problem import gap
from pushforward.combinatorial.raster import Raster
from pushforward.combinatorial.relaxed import RelaxedTours, degrees
from pushforward.combinatorial.tsp import TravellingSalesman, near_optimal, random_cities, random_tours
from pushforward.config.tours import load_tours, tour_config, train_tours
from pushforward.data.dataset import Batch
from pushforward.denoisers import Denoiser, Estimate, Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.networks.graph import GraphNet
from pushforward.numerics.random import Draws
from pushforward.paths.processes import EDM
from pushforward.plugplay import Annealed, Descent
from pushforward.training import Recipe, fit


def net(features: int = 4, *, of_pairs: bool = True, width: int = 16, depth: int = 2) -> GraphNet:
    torch.manual_seed(0)
    return GraphNet(features, 2, 2, width, depth, of_pairs=of_pairs).eval()


def instances(count: int, n: int) -> TravellingSalesman:
    return TravellingSalesman(random_cities(Draws.of(0, range(count)), n))


def test_permuted_nodes_give_permuted_answers():
    problem, order = instances(2, 7), np.array([3, 1, 6, 0, 5, 2, 4])
    moved = TravellingSalesman(problem.cities[:, order])
    x = whole(Draws.of(1, range(2)).integers(2, (21,)).numpy(), 7)
    time = torch.tensor([0.3, -1.0])

    def answers(p, marks):
        logits = net()(torch.from_numpy(halved(marks)), time, features=features_of(p))
        return whole(logits[..., 1].detach().numpy(), 7)

    one, other = answers(problem, x), answers(moved, x[:, order][:, :, order])
    assert np.allclose(one[:, order][:, :, order], other, atol=1e-5)
    assert np.abs(one - other).max() > 1e-3


def test_features_know_no_place():
    problem = instances(3, 9)
    angle = 0.7
    turned = problem.cities @ np.array([[0.0, 1.0], [1.0, 0.0]]) * 5 + 3
    assert torch.allclose(features_of(problem), features_of(TravellingSalesman(turned)), atol=1e-5)
    skew = problem.cities * np.array([1.0, angle])
    assert not torch.allclose(features_of(problem), features_of(TravellingSalesman(skew)), atol=1e-2)


def test_cities_on_a_line_are_told_by_their_distances():
    line = np.stack((np.arange(8.0) ** 2, np.zeros(8)), -1)[None]
    told = features_of(TravellingSalesman(line))
    assert torch.allclose(told, features_of(TravellingSalesman(line * 1e-6)), atol=1e-5)
    assert float(told[0, 0, 1, 0]) < float(told[0, 0, 2, 0]) < 2  # not all as far as can be


def test_the_answer_depends_on_time_and_state():
    problem = instances(1, 6)
    features = features_of(problem)
    x = torch.zeros(1, 15, dtype=torch.int64)
    base = net()(x, torch.zeros(1), features=features)
    assert not torch.allclose(base, net()(1 - x, torch.zeros(1), features=features), atol=1e-4)
    assert not torch.allclose(base, net()(x, torch.ones(1), features=features), atol=1e-5)
    with pytest.raises(UserError, match=r"\(B, 15\)"):
        net()(x[:, :14], torch.zeros(1), features=features)


def test_items_are_functions_of_their_number():
    items = GraphItems(SolvedItems(solved_tours(8, 2), 300))
    asked = torch.tensor([280, 3, 3, 270])
    batch = items.batch(asked)
    again = GraphItems(SolvedItems(solved_tours(8, 2), 300)).batch(torch.tensor([3, 280]))
    assert torch.equal(batch.values[[1, 0]], again.values)
    assert torch.equal(batch.conditions[FEATURES][[1, 0]], again.conditions[FEATURES])
    assert torch.equal(batch.values[1], batch.values[2]) and not torch.equal(batch.values[0], batch.values[3])
    assert (batch.values.sum(1) == 8).all()  # a tour of 8 cities has 8 edges


def test_half_and_whole_are_inverse():
    marks = instances(2, 6).encode(random_tours(Draws.of(0, range(2)), 6))
    assert (whole(halved(marks), 6) == marks).all()


def trained(tmp_path, items, network, steps):
    model = GraphDiffusion(network.train())
    recipe = Recipe(steps=steps, batch_size=32, learning_rate=3e-3, warmup_steps=10, device="cpu", save_seconds=None)
    fit(model, items, None, recipe, tmp_path / "run", {})
    return model.eval()


def test_a_trained_prior_beats_the_constant_heat(tmp_path):
    items = GraphItems(SolvedItems(solved_tours(9, 5), 256))
    model, keys = trained(tmp_path, items, net(), 150), Draws.of(9, range(128))
    problem, good = items.items.solve(keys)

    def gaps(heat):
        return gap(problem.cost(problem.decode(heat)), problem.cost(good))

    control, learned = gaps(problem.nothing()), gaps(model.heat(problem, keys, 1))
    difference = control - learned
    assert difference.mean() > 2 * difference.std() / len(keys) ** 0.5
    assert gaps(GraphDiffusion(net()).heat(problem, keys, 1)).mean() > learned.mean()


def test_sets_are_learned_by_the_same_network(tmp_path):
    items = GraphItems(SolvedItems(solved_sets(16, 0.25, 5), 256))
    model = trained(tmp_path, items, net(3, of_pairs=False), 60)
    problem, good = items.items.solve(Draws.of(5, range(64)))
    assert isinstance(problem, IndependentSet)
    heat = model.heat(problem, Draws.of(2, range(64)), 1)
    assert heat.shape == (64, 16)
    assert heat[good].mean() > heat[~good].mean() + 0.1


def test_the_heat_is_a_pure_function_of_its_keys():
    problem, model = instances(4, 6), GraphDiffusion(net())
    together = model.heat(problem, Draws.of(3, range(4)), 3)
    alone = model.heat(problem.rows(np.array([2])), Draws.of(3, [2]), 3)
    assert np.allclose(together[2], alone[0], atol=1e-6)
    assert np.allclose(together, together.transpose(0, 2, 1)) and (together[:, range(6), range(6)] == 0).all()


def test_a_problem_of_another_kind_brings_its_features():
    problem = IndependentSet(random_graphs(Draws.of(0, range(3)), 7, 0.4))

    def edges_alone(p):
        return torch.from_numpy(p.edges[..., None].astype(np.float32))

    network = net(1, of_pairs=False)
    heat = GraphDiffusion(network, edges_alone).heat(problem, Draws.of(0, range(3)), 2)
    assert problem.decode(heat).shape == (3, 7)
    batch = GraphItems(SolvedItems(lambda draws: (problem, problem.decode(heat)), 3), edges_alone).batch(
        torch.tensor([2, 0])
    )
    assert torch.equal(batch.conditions[FEATURES], edges_alone(problem)[[2, 0]])
    with pytest.raises(UserError, match="as `features`"):
        features_of(object())
    with pytest.raises(UserError, match="at least 1; got 0"):
        GraphDiffusion(network, edges_alone).heat(problem, Draws.of(0, range(3)), 2, 0)


def test_priors_by_name_are_trained_and_asked(tmp_path):
    """The image prior, whose pictures are small here; the graph prior is in tests/cli."""
    config = tour_config(prior="image", cities=5, pixels=16, width=8, instances=4, kicks=1, batch_size=4, steps=1)
    train_tours(config, tmp_path / "run")
    prior, problem, draws = load_tours(tmp_path / "run"), instances(1, 6), Draws.of(0, [0])
    states = prior.states(problem, draws, 3)
    assert [step for step, _ in states] == [1, 97, 192]
    [heat] = prior.heats(problem, draws)
    assert np.allclose(heat, states[-1][1]) and heat[0].sum() / 2 == pytest.approx(6, rel=1e-5)
    with pytest.raises(UserError, match="of the graph prior"):
        prior.heat(problem, draws, 3)
    with pytest.raises(UserError, match="200 cities at most, and there are 201"):
        prior.heat(instances(1, 201), draws)


def test_marks_forget_at_the_end():
    x0 = torch.zeros(4000, 1, dtype=torch.int64)
    draws = Draws.of(0, range(4000))
    for t, share in ((1.0, 0.5), (0.05, 0.025)):
        flipped = PATH.corrupt(x0, PATH.level(t), draws).double().mean()
        assert abs(float(flipped) - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_a_graph_model_refuses_other_batches():
    with pytest.raises(UserError, match="solved instances"):
        GraphDiffusion(net()).loss("loss", Batch(torch.zeros(1, 15)), Draws.of(0, [0]))


# -- pictures --------------------------------------------------------------------------------------------------------


def test_a_picture_is_what_it_should_be():
    cities = np.array([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    raster = Raster(16)
    picture = raster.tours(cities, np.array([[0, 1, 2, 3]]))[0, 0]
    assert float(picture.min()) == -1 and 0.5 < float(picture.max()) <= 1
    assert torch.allclose(picture, picture.flip(0)) and torch.allclose(picture, picture.T)
    path = raster.tours(cities, np.array([[0, 2, 1, 3]]))[0, 0]  # both diagonals, top and bottom
    assert float(path[7:9, 7:9].mean()) > -0.5 > float(picture[7:9, 7:9].mean())
    wide = raster.tours(np.array([[[0.0, 0.5], [1.0, 0.5], [0.5, 0.5]]]), np.array([[0, 1, 2]]))[0, 0]
    assert float(wide[7:9, 4].max()) > -0.6 > float(wide[3, 4])  # x along columns


def test_the_relaxed_picture_of_a_tour_is_its_picture():
    problem, raster = instances(3, 6), Raster(24)
    tours = random_tours(Draws.of(0, range(3)), 6)
    weights = torch.from_numpy(halved(problem.encode(tours)))
    relaxed = raster.relaxed(weights, raster.edges(problem.cities), raster.discs(problem.cities))
    exact = raster.tours(problem.cities, tours)
    assert float((relaxed - exact).abs().median()) < 1e-6
    assert float((relaxed - exact).clamp(max=0).abs().max()) < 1e-5  # crossings and corners add up, nothing is less


def test_degrees_sum_to_the_number_of_edges():
    eta = Draws.of(0, range(2)).normal((21,))
    assert torch.allclose(degrees(eta, 7).sum(1), torch.full((2,), 7.0), atol=1e-5)


def test_eight_ways_of_a_square():
    cities = random_cities(Draws.of(0, [0]), 5).repeat(8, 0)
    moved = dihedral(cities, np.arange(8))
    assert len({tuple(m.round(9).ravel()) for m in moved}) == 8
    d = TravellingSalesman(moved).distances
    assert np.allclose(d, d[:1])


def test_image_items_are_the_pictures_of_their_tours():
    items = ImageItems(SolvedItems(solved_tours(6, 1), 20), Raster(16))
    batch = items.batch(torch.tensor([17, 16, 40]))
    problem, tours = items.items.block(0)
    plain = items.raster.tours(problem.cities[2:3], tours[2:3])
    assert len(items) == 160 and torch.equal(batch.values[1], plain[0])
    assert torch.allclose(batch.values[0], plain[0].transpose(1, 2), atol=1e-5)


class OnePicture(Denoiser):
    """Knows one picture, with a little noise on it."""

    def __init__(self, picture):
        self.path, self.shape = EDM(), picture.shape[1:]
        one = torch.ones(1)
        self.flat = MixtureDenoiser(Mixture.of_covariances(one, picture.reshape(1, -1), 0.01 * one), self.path)

    def estimate(self, x, level):
        return Estimate.of_mean(x, level, self.flat.estimate(x.flatten(1), level).mean.reshape(x.shape))


def test_an_exact_image_prior_finds_its_tour():
    many, raster = instances(20, 9), Raster(24)
    good = near_optimal(many, Draws.of(0, range(20)), 5)
    missed = np.flatnonzero(gap(many.cost(many.decode(many.nothing())), many.cost(good)) > 0.02)
    problem, tour = many.rows(missed[:1]), good[missed[:1]]
    solver = RelaxedTours(raster, Descent(60, 0.5, schedule=Annealed(5.0, 0.2)))
    shown = []
    prior = OnePicture(raster.tours(problem.cities, tour))
    heat = solver.heat(prior, problem, Draws.of(0, [0]), watch=lambda step, marks: shown.append(marks))
    assert (problem.encode(problem.decode(heat)) == problem.encode(tour)).all()
    assert len(shown) == 60 and np.allclose(shown[-1], heat, atol=1e-6) and not np.allclose(shown[0], heat, atol=0.1)
