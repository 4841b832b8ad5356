"""The CARD model: its denoiser is that of the residual, its samples and densities are those of a known law."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from pushforward.card.draws import sample_draws
from pushforward.data.format import Format
from pushforward.data.labels import Labels
from pushforward.data.pairing import Pairing
from pushforward.data.roles import Feature, Response
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import NumericalError, UserError
from pushforward.models.card import given_mean, published_card, usual_card
from pushforward.models.predictor import Prediction, Predictor
from pushforward.paths import UniformLogSNR
from pushforward.samplers import Ancestral, Sampler, analytic
from pushforward.training.loop import fit
from pushforward.training.recipe import Recipe

PAIRING = Pairing((Feature("x"),), (Response("y", 5.0, 2.0),))


class Exact(torch.nn.Module):
    """The network of a law r | x ~ N(m(x), s(x)²) under EDM's reading, in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, context):
        return context

    def forward(self, x, time, context=None):
        rho = torch.exp(4 * time.double())[:, None]
        alpha, sigma = 1 / torch.sqrt(1 + rho**2), rho / torch.sqrt(1 + rho**2)
        state = x.double() * torch.sqrt(alpha**2 + sigma**2)
        m, s = law(context[:, 1:].double())
        mean = m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (state - alpha * m)
        # F of mean = c_skip x + c_out F with unit data
        return ((mean - alpha * state) / sigma).float()


def law(x):
    """Mean and deviation of the residual, in the denoiser's units."""
    return 0.5 * x, 0.3 + 0.5 * (x > 0)


@pytest.fixture
def exact():
    card = usual_card(PAIRING, mean=given_mean(PAIRING), width=8, depth=1)
    card.network = Exact()
    card.covariance.fill_(1.0)
    return Predictor(card, Format(PAIRING))


def test_samples_have_the_law_and_densities_are_its_own(exact):
    x = torch.tensor([[-1.0], [0.5]])
    f = torch.tensor([[0.2], [-0.1]])
    m, s = law(x.double())
    mean, deviation = 5 + 2 * (f + m).numpy(), 2 * s.numpy()
    found = exact.predict(x, f=f, samples=400, levels=(0.05, 0.5, 0.95), keep=True)
    assert found.mean == pytest.approx(mean, abs=0.02)
    assert found.deviation == pytest.approx(deviation, rel=0.02)
    quantiles = mean[:, None] + deviation[:, None] * stats.norm.ppf([0.05, 0.5, 0.95])[None, :, None]
    assert found.quantiles == pytest.approx(quantiles, abs=0.04)
    assert found.interval(0.9) == pytest.approx(quantiles[:, [0, 2]], abs=0.04)
    y = torch.tensor([[0.3], [-0.8]])
    nats = stats.norm.logpdf(5 + 2 * y.numpy(), mean, deviation)[:, 0]
    assert exact.log_prob(x, y, f=f) == pytest.approx(nats, abs=1e-2)  # moments of the noise end are pooled over rows


def test_the_analytic_variance_is_not_biased_where_the_published_one_is(exact):
    x, f = torch.full((1, 1), -1.0), torch.zeros(1, 1)
    grid = UniformLogSNR()
    few = Sampler(Ancestral(1.0), grid), Sampler(Ancestral(1.0, analytic), grid)
    rows = torch.full((256, 1), -1.0)
    y = (law(rows.double())[0] + 0.3 * torch.randn(256, 1, generator=torch.Generator().manual_seed(0))).float()
    told = exact.with_variance(rows, y, f=torch.zeros(256, 1))
    deviations = [
        float(p.predict(x, f=f, samples=4000, sampler=s, evaluations=12, spread=False).deviation[0, 0]) / 0.6
        for p, s in zip((exact, told), few, strict=True)
    ]
    assert deviations[0] < 0.92
    assert deviations[1] == pytest.approx(1, abs=0.05)


def test_a_rows_prediction_depends_on_the_row_alone(exact):
    x, f = torch.linspace(-1, 1, 30)[:, None], torch.zeros(30, 1)
    whole = exact.predict(x, f=f, samples=16, keep=True).samples
    other = torch.tensor([7, 3, 21])
    assert exact.predict(x[other], f=f[other], samples=16, keep=True).samples == pytest.approx(whole[other], abs=1e-4)
    small = torch.cat(list(exact.stream(x, 16, f=f, at_once=40)))
    assert exact.pairing.decode_responses(small) == pytest.approx(whole, abs=1e-4)
    assert max(len(part) for part in exact.stream(x, 16, f=f, at_once=40)) == 2


def test_a_million_draws_are_made_in_one_stream_of_small_batches(exact):
    """10,000 rows × 100: never more than 2,048 draws at once, and only what was asked for is kept."""
    sizes = []

    class Nothing(torch.nn.Module):
        def encode(self, context):
            return context

        def forward(self, x, time, context=None):
            sizes.append(len(x))
            return torch.zeros_like(x)

    exact.card.network = Nothing()
    x = torch.linspace(-1, 1, 10_000)[:, None]
    found = exact.predict(x, f=torch.zeros(10_000, 1), samples=100, levels=(0.5,), evaluations=2)
    assert max(sizes) <= 2048 and sum(sizes) >= 2 * 1_000_000
    assert found.samples is None and found.mean.shape == (10_000, 1) and found.quantiles.shape == (10_000, 1, 1)


def test_f_and_the_noise_of_samplers_are_where_the_model_is(exact, monkeypatch):
    """On another device than the rows, here one that only knows shapes."""
    asked = {}

    class Elsewhere(torch.nn.Module):
        def out_of_fold(self, x, y):
            asked["f"] = x.device.type, y.device.type
            return torch.zeros(y.shape)

    class Watched:
        def sample(self, denoiser, x, evaluations, draws, observe=None):
            asked["noise"] = draws.at(0).normal((1,)).device.type, x.device.type
            raise StopIteration

    card = usual_card(PAIRING, mean=given_mean(PAIRING), width=8, depth=1).to("meta")
    card.mean = Elsewhere()
    rows, _ = card.prepared(torch.ones(3, 1), torch.ones(3, 1), 3, measure=False)
    assert asked["f"] == ("meta", "meta") and rows.values.device.type == "cpu"
    x = torch.ones(2, 1)
    monkeypatch.setattr(
        "pushforward.models.predictor.sample_draws", lambda x, n, seed: sample_draws(torch.ones(2, 1), n, seed)
    )
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(Predictor(card, Format(PAIRING)).stream(x, 2, f=x, sampler=Watched(), at_once=4))
    assert asked["noise"] == ("meta", "meta")


def test_the_deviation_is_not_biased_and_quantiles_are_those_that_are_reached(exact):
    rows, f = torch.full((1, 1), -1.0), torch.zeros(1, 1)
    for count, levels in ((1, (0.5,)), (4, (0.25, 0.5, 0.75)), (10, (0.05, 0.25, 0.5, 0.75, 0.95))):
        assert exact.predict(rows, f=f, samples=count).levels == levels
    x = torch.linspace(-1, -0.99, 400)[:, None]
    for spread in (True, False):
        found = exact.predict(x, f=torch.zeros(400, 1), samples=8, spread=spread).deviation
        assert np.sqrt(np.mean(found**2)) == pytest.approx(2 * 0.3, rel=0.03)


def test_draws_that_are_not_finite_are_an_error(exact):
    exact.card.scale.fill_(torch.inf)
    with pytest.raises(NumericalError, match="draws are not finite"):
        exact.predict(torch.zeros(1, 1), f=torch.zeros(1, 1))


def test_columns_of_a_prediction_never_take_the_place_of_a_response():
    one, two = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    found = Prediction(one, two, (0.5,), one[:, None], np.stack((one, two), 1)).columns(("y", "y_sd"))
    assert {name: float(column[0]) for name, column in found.items()} == {
        "y": 1, "y_sd (2)": 3, "y_q50": 1, "y_draw1": 1, "y_draw2": 3,
        "y_sd": 2, "y_sd_sd": 4, "y_sd_q50": 2, "y_sd_draw1": 2, "y_sd_draw2": 4,
    }  # fmt: skip


def test_the_deviation_of_residuals_is_their_own_in_both_settings():
    nothing, response = torch.zeros(50, 1), torch.tensor([[-0.5], [0.5]]).repeat(25, 1)
    for make in (usual_card, published_card):
        card = make(PAIRING, mean=given_mean(PAIRING))
        card.prepared(response, nothing, 50, nothing)
        assert float(card.deviation) == pytest.approx(0.5, abs=1e-5)


def test_what_cannot_be_asked_is_refused(exact):
    with pytest.raises(UserError, match="makes no rows"):
        exact.sample(3)
    for count in (0, 2.5, "a"):
        with pytest.raises(UserError, match="whole number of at least 1"):
            list(exact.stream(torch.zeros(1, 1), count))
    with pytest.raises(UserError, match="predicts numbers"):
        exact.classify(torch.zeros(1, 1))
    with pytest.raises(UserError, match="between 0 and 1"):
        exact.predict(torch.zeros(1, 1), levels=(5,))
    with pytest.raises(UserError, match="from elsewhere"):
        exact.predict(torch.zeros(1, 1))


def test_training_learns_the_law_of_the_residual(tmp_path):
    card = usual_card(PAIRING, mean=given_mean(PAIRING), width=32, depth=1, dropout=0.0)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(1500, 1))
    y = 2 * x + np.where(x > 0, 1.0, 0.2) * rng.normal(size=x.shape)
    as_float = [torch.from_numpy(a).float() for a in (y, x, 2 * x)]
    items = card.prepared(as_float[0], as_float[1], 1400, as_float[2])
    fit(card, *items, Recipe(steps=400, batch_size=128, learning_rate=4e-3), tmp_path / "run", {})
    found = Predictor(card, Format(PAIRING)).predict(
        torch.tensor([[-0.5], [0.5]]), f=torch.tensor([[-1.0], [1.0]]), samples=200
    )
    assert found.deviation[:, 0] / 2 == pytest.approx([0.2, 1.0], rel=0.25)
    assert (found.mean[:, 0] - 5) / 2 == pytest.approx([-1.0, 1.0], abs=0.15)


def test_the_published_network_sees_the_response_and_the_index_of_its_level():
    card = published_card(PAIRING, mean=given_mean(PAIRING), levels=20)
    seen = {}

    class Looking(torch.nn.Module):
        features = 1

        def encode(self, context):
            return context

        def forward(self, x, time, context=None):
            seen["time"], seen["y"] = time, x + context[:, :1]
            return torch.zeros_like(x)

    card.network = Looking()
    level = card.path.level(7 / 20)
    found = card.given(torch.zeros(2, 1), torch.full((2, 1), 3.0)).estimate(torch.ones(2, 1), level)
    assert isinstance(found, Estimate) and seen["time"].tolist() == pytest.approx([6.0, 6.0])
    assert seen["y"].flatten().tolist() == [4.0, 4.0]
    assert found.mean.flatten().tolist() == pytest.approx([1 / level.alpha] * 2)


def test_the_response_written_with_few_decimals_is_spread_over_its_cell():
    pairing = Pairing((Feature("x"),), (Response("y", 0.0, 2.0, step=1.0),))
    card = usual_card(pairing, mean=given_mean(pairing), width=8, depth=1)
    assert card.cells.tolist() == [0.5]
    nothing, response = torch.zeros(50, 1), torch.tensor([[-1.0], [1.0]]).repeat(25, 1)
    card.prepared(response, nothing, 50, nothing)
    assert card.cells.tolist() == [0.5] and float(card.covariance) == pytest.approx(1 + 0.5**2 / 12, abs=1e-5)
    card.prepared(nothing, nothing, 50, nothing)  # told better than rounding lets it: not rounded, but few values
    assert card.cells.tolist() == [0.0]


RNG = np.random.default_rng(0)
NORMAL, UNIFORM = RNG.normal(size=4000), RNG.uniform(size=4000)
RATES = np.where(UNIFORM < 0.6, 0.02, np.exp(1.5 * NORMAL))
KIND = 0.37 + 3 * (UNIFORM < 0.5)
STEPS = {
    "f finds the steps": (np.round(10 * NORMAL), np.round(10 * NORMAL) + 0.35 * RNG.normal(size=4000), False),
    "f finds what was rounded": (np.round(10 * NORMAL), 10 * NORMAL + 0.05 * RNG.normal(size=4000), True),
    "and not so well": (np.round(10 * NORMAL), 10 * NORMAL + 0.35 * RNG.normal(size=4000), True),
    "f cannot tell the steps apart": (np.round(10 * NORMAL), np.round(10 * NORMAL) + 2 * RNG.normal(size=4000), True),
    "two steps or three": (np.round(NORMAL), np.round(NORMAL) + 0.35 * RNG.normal(size=4000), True),
    "counts, most of them none": (RNG.poisson(RATES).astype(float), RATES, True),
    "f of two values": (np.round(KIND + 3 * NORMAL), KIND, True),
    "f that hardly varies": (np.round(3 * NORMAL), 0.02 * NORMAL, True),
}


@pytest.mark.parametrize("case", STEPS)
def test_a_response_is_spread_over_its_cell_where_it_was_rounded_to_it(case):
    y, f, spread = STEPS[case]
    size = float(y.std())
    responses = (Response("y", 0.0, size, step=1.0), Response("z", 0.0, 1.0, step=0.0))
    card = usual_card(Pairing((Feature("x"),), responses), mean=given_mean(PAIRING), width=8, depth=1)
    y, f = (torch.from_numpy(np.stack((v / size, w), 1)).float() for v, w in ((y, NORMAL), (f, UNIFORM)))
    card.prepared(y, torch.zeros(4000, 1), 4000, f)
    assert (float(card.cells[0]) > 0) == spread and float(card.cells[1]) == 0


def test_classes_have_one_scale_and_need_no_density():
    pairing = Pairing((Feature("x"),), classes=Labels(("a", "b"), False, "kind"))
    card = usual_card(pairing, mean=given_mean(pairing), width=8, depth=1)
    y = torch.eye(2)[torch.arange(40) % 2]
    card.prepared(y, torch.zeros(40, 1), 40, torch.full((40, 2), 0.5))
    assert card.scale.tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(UserError, match="no density"):
        Predictor(card, Format(pairing)).log_prob(torch.zeros(1, 1), torch.zeros(1, 2))


@pytest.mark.parametrize("make", [usual_card, published_card])
def test_small_probabilities_are_told_apart(make):
    pairing = Pairing((Feature("x"),), classes=Labels(("a", "b"), False, "kind"))
    card, seen = make(pairing, mean=given_mean(pairing)), []
    card.network.encode = lambda told: seen.append(told) or told
    card.encode(torch.full((3, 1), 7.0), torch.tensor([[0.99, 0.01], [0.9999, 1e-3], [1.0, 0.0]]))
    if make is usual_card:
        wanted = torch.tensor([0.01, 1e-3, 1e-4]).log() / 3
        torch.testing.assert_close(seen[0][:, 1], wanted)
    else:  # as they are in the paper
        assert seen[0][:, 1].tolist() == pytest.approx([0.01, 1e-3, 0.0])
    assert seen[0][:, 2].tolist() == [7.0] * 3
