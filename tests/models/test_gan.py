"""The adversarial family: who moves what, what is shown to whom, counted draws, the score of held-out items."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.gan import (
    R1,
    R2,
    Brightness,
    Falling,
    GradientPenalty,
    Hinge,
    Minimax,
    NonSaturating,
    Relativistic,
    Translation,
    Wasserstein,
    modes,
    small_data,
)
from pushforward.models.gan import GAN
from pushforward.networks.spectral import Spectral, normalise_spectra
from pushforward.numerics.dropout import Dropout
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, find_checkpoint, fit, load_weights
from pushforward.training.observers import read_log

SHAPES = [(2,), (1, 8, 8)]
RULES = {
    "default": {},
    "minimax": {"loss": Minimax(), "penalties": ()},
    "non-saturating, R1": {"loss": NonSaturating(), "penalties": (R1(1.0),)},
    "hinge": {"loss": Hinge(), "penalties": ()},
    "WGAN-GP": {"loss": Wasserstein(), "penalties": (GradientPenalty(10.0),)},
    "augmented": {"augment": "small"},
}


def build(shape=(2,), classes=0, seed=0, **rules):
    torch.manual_seed(seed)
    if rules.get("augment") == "small":
        rules["augment"] = small_data(shape)
    return GAN.of_shape(shape, classes, latent=3, width=8, **rules)


def batch(shape=(2,), classes=0, count=6):
    draws = Draws.of(7, range(count), "data")
    return Batch(draws.normal(shape), draws.at("label").integers(classes) if classes else None)


DRAWS = Draws.of(0, range(6), "train")


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [0, 3])
def test_each_player_moves_its_own_network_alone(shape, classes, name):
    """Without the engine's switches too: the discriminator's loss never reaches the generator."""
    model, data = build(shape, classes, **RULES[name]), batch(shape, classes)
    groups = {k: list(p) for k, p in model.objectives().items()}
    assert list(groups) == ["discriminator", "generator"]
    found = model.loss("discriminator", data, DRAWS)
    assert found.shape == (6,)
    found.mean().backward()
    assert all(p.grad is None for p in groups["generator"])
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in groups["discriminator"])
    found = model.loss("generator", data, DRAWS)
    assert found.shape == (6,)
    model.zero_grad()
    for p in groups["discriminator"]:
        p.requires_grad_(False)
    found.mean().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in groups["generator"])


@pytest.mark.parametrize("name", RULES)
def test_losses_are_counted_and_of_each_item_alone(name):
    model, data = build((1, 8, 8), 3, **RULES[name]), batch((1, 8, 8), 3)
    for player in ("discriminator", "generator"):
        whole = model.loss(player, data, DRAWS).detach()
        assert torch.equal(whole, model.loss(player, data, DRAWS).detach())
        part = model.loss(player, Batch(data.values[2:4], data.labels[2:4]), DRAWS[2:4]).detach()
        assert torch.allclose(part, whole[2:4], atol=1e-5)
        assert not torch.allclose(whole, model.loss(player, data, DRAWS.at("other")).detach())


def test_the_default_is_the_relativistic_pairing_with_both_penalties():
    model, data = build(), batch()
    assert model.rule == Relativistic()
    assert {type(p) for p in model.penalties} == {R1, R2}
    with torch.no_grad():
        fake = model.draw(DRAWS)
    real = data.values.clone().requires_grad_()
    made = fake.clone().requires_grad_()
    gap = model.discriminator(real) - model.discriminator(made)
    slopes = [torch.autograd.grad(model.discriminator(x).sum(), x)[0].square().sum(1) for x in (real, made)]
    expected = nn.functional.softplus(-gap) + 0.05 * (slopes[0] + slopes[1])
    assert torch.allclose(model.loss("discriminator", data, DRAWS), expected, atol=1e-5)
    assert torch.allclose(model.loss("generator", data, DRAWS), nn.functional.softplus(gap), atol=1e-5)


def test_penalties_fall_with_the_progress_of_the_training():
    model, data = build(), batch()
    model.loss("discriminator", data, DRAWS)
    first = model.figures()["penalty"]
    model.progress = 1.0
    model.loss("discriminator", data, DRAWS)
    assert torch.allclose(model.figures()["penalty"], 0.003 * first, rtol=1e-4)
    assert Falling(0.1, 0.001)(0.5) == pytest.approx(0.01)
    with pytest.raises(UserError, match="positive"):
        Falling(0.1, 0.0)


class Seer(nn.Module):
    """A discriminator that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3))
        self.shown = []

    def forward(self, x, label=None):
        self.shown.append((x.detach(), label))
        return self.weight * x.flatten(1).square().sum(1)


def test_real_and_generated_items_are_augmented_alike_and_apart():
    seer = Seer()
    model = build((1, 8, 8), augment=Brightness(0.5))
    model.discriminator = seer
    data = batch((1, 8, 8))
    model.loss("discriminator", data, DRAWS)
    model.loss("generator", data, DRAWS)
    both, fake, real = (x for x, _ in seer.shown)
    with torch.no_grad():
        made = model.draw(DRAWS)
    moved = (both - torch.cat((data.values, made)))[:, 0, 0, 0]
    assert moved.abs().min() > 1e-4 and len(moved.unique()) == 12  # every item in its own way, in both halves
    assert (fake - made).abs().max() > 0.01 and (real - data.values).abs().max() > 0.01


def test_gradients_reach_the_generator_through_the_augmentation():
    model = build((1, 8, 8), augment=Translation(0.25))
    model.loss("generator", batch((1, 8, 8)), DRAWS).mean().backward()
    assert all(p.grad is not None for p in model.generator.parameters())


def test_pairs_share_their_label():
    seer = Seer()
    model = build((2,), 3)
    model.discriminator = seer
    data = batch((2,), 3)
    model.loss("discriminator", data, DRAWS)
    assert torch.equal(seer.shown[0][1], data.labels.repeat(2))


def test_batch_normalisation_is_refused_with_the_reason():
    bad = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(UserError, match=r"batch normalisation \(1\)"):
        GAN(nn.Linear(3, 2), bad, 3, (2,))


def test_wrong_use_is_refused():
    with pytest.raises(UserError, match="players are"):
        build().loss("critic", batch(), DRAWS)
    with pytest.raises(UserError, match="has none"):
        build((2,), 3).loss("generator", batch(), DRAWS)
    with pytest.raises(UserError, match=r"items of shape \(2,\), and the batch has \(3,\)"):
        build().loss("discriminator", batch((3,)), DRAWS)
    broken = batch()
    broken.values[1, 0] = torch.nan
    for player in ("discriminator", "generator"):
        with pytest.raises(UserError, match="The batch holds nan at sample 1, entry 0"):
            build().loss(player, broken, DRAWS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", ["latent", "width"])
def test_a_size_of_zero_is_not_taken_for_the_usual_one(shape, size):
    with pytest.raises(UserError, match=f"{size}=0"):
        GAN.of_shape(shape, **{size: 0})


def test_counted_dropout_in_a_discriminator():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), Dropout(0.5), nn.Linear(16, 1))

        def forward(self, x, label=None):
            return self.net(x)[:, 0]

    torch.manual_seed(0)
    model = GAN(build().generator, Forgetful(), 3, (2,))
    for player in ("discriminator", "generator"):
        first = model.loss(player, batch(), DRAWS)
        assert torch.equal(first, model.loss(player, batch(), DRAWS))


# -- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_depends_on_its_key_alone(shape):
    model = build(shape, 3).eval()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    whole = model.draw(DRAWS, labels)
    assert whole.shape == (6, *shape)
    assert torch.allclose(model.draw(DRAWS[3:4], labels[3:4]), whole[3:4], atol=1e-6)
    evenly = model.draw(Draws.of(0, range(2000)))
    assert evenly.shape == (2000, *shape)
    chosen = Draws.of(0, range(2000)).at("label").integers(3)
    assert torch.allclose(model.draw(Draws.of(0, range(2000)), chosen), evenly)
    assert torch.bincount(chosen).min() > 600


class Known(nn.Module):
    """A generator of N(mean, deviation²)."""

    def __init__(self, mean, deviation):
        super().__init__()
        self.mean, self.deviation = nn.Parameter(torch.tensor(mean)), deviation

    def forward(self, z, label=None):
        return self.mean + self.deviation * z


def test_the_energy_score_is_that_of_known_laws_and_lowest_at_the_data():
    """In 1-D E|x − g| − ½E|g − g′| of normals is a closed form; twice its excess is the energy distance."""
    data = Batch(Draws.of(3, range(4000), "x").normal((1,)))
    found = {}
    for mean, deviation in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.0, 0.01)):
        model = GAN(Known(mean, deviation), Seer(), 1, (1,))
        with torch.no_grad():
            values = model.validation_loss(data, Draws.of(5, range(4000), "v"))
        assert values.shape == (4000,)
        normal = torch.distributions.Normal(0.0, 1.0)
        spread = (1 + deviation**2) ** 0.5
        m = torch.tensor(mean / spread)
        folded = spread * (2 * torch.exp(normal.log_prob(m)) + m * (2 * normal.cdf(m) - 1))
        expected = float(folded) - deviation / torch.pi**0.5
        error = float(values.std()) / 4000**0.5
        assert float(values.mean()) == pytest.approx(expected, abs=4 * error)
        found[mean, deviation] = float(values.mean())
    assert min(found, key=found.__getitem__) == (0.0, 1.0)


# -- in the engine -----------------------------------------------------------------------------------------------------


class Ring:
    """Points of four narrow modes, with labels."""

    centres = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

    def __init__(self, count, seed, labelled=False):
        draws = Draws.of(seed, range(count), "ring")
        self.labels = draws.at("mode").integers(4)
        self.values = self.centres[self.labels] + 0.1 * draws.at("within").normal((2,))
        self.labelled = labelled

    def __len__(self):
        return len(self.values)

    def batch(self, rows):
        return Batch(self.values[rows], self.labels[rows] if self.labelled else None)


def recipe(**changes):
    plain = {"batch_size": 64, "steps": 250, "learning_rate": 2e-3, "betas": (0.0, 0.99), "clip_norm": None}
    plain |= {"warmup_steps": 10}
    return Recipe(**{**plain, "device": "cpu", "save_seconds": None, "ema_lengths": (0.1,), "log_every": 25, **changes})


def test_a_small_training_finds_all_modes_and_tells_of_itself(tmp_path):
    torch.manual_seed(0)
    model = GAN.of_shape((2,), width=64)
    start = modes(model.draw(Draws.of(0, range(500))).detach(), Ring.centres, 0.1)
    done = fit(model, Ring(1000, 0), Ring(200, 1), recipe(), tmp_path, {})
    assert done.best is None  # no loss ranks its checkpoints
    load_weights(model, find_checkpoint(tmp_path))
    found = modes(model.eval().draw(Draws.of(0, range(500))).detach(), Ring.centres, 0.1)
    assert found.covered == 4 and found.high_quality > 0.5 > start.high_quality
    entries = read_log(tmp_path / "metrics.jsonl")
    figures = [entry["figures"] for entry in entries if "figures" in entry]
    assert len(figures) == 10
    assert set(figures[0]) == {
        *("accuracy", "coverage", "diversity", "generator_saturation", "penalty", "saturation"),
        *("value_fake", "value_real"),
    }
    assert all(value is not None for value in figures[-1].values())
    scores = [entry["validation"]["ema-0.100"] for entry in entries if "validation" in entry]
    assert scores[-1] < scores[0] - 0.05


def test_a_conditional_training_makes_what_it_is_asked_for(tmp_path):
    torch.manual_seed(0)
    model = GAN.of_shape((2,), 4, width=64)
    fit(model, Ring(1000, 0, True), None, recipe(), tmp_path, {})
    labels = torch.arange(400) % 4
    x = model.eval().draw(Draws.of(0, range(400)), labels).detach()
    assert float((torch.cdist(x, Ring.centres).argmin(1) == labels).double().mean()) > 0.9


def test_normalised_spectra_move_in_training_and_are_in_the_checkpoint(tmp_path):
    torch.manual_seed(0)
    model = build(loss=Hinge(), penalties=())
    normalise_spectra(model.discriminator)
    before = {k: v.clone() for k, v in model.state_dict().items() if k.endswith(".u")}
    fit(model, Ring(100, 0), Ring(50, 1), recipe(steps=20, batch_size=16), tmp_path, {})
    moved = [k for k in before if not torch.equal(before[k], model.state_dict()[k])]
    assert moved and any(isinstance(m, Spectral) for m in model.modules())
    stored = find_checkpoint(tmp_path).tensors("model")
    assert all(torch.equal(stored[k], model.state_dict()[k]) for k in before)
    frozen = {k: model.state_dict()[k].clone() for k in before}
    model.eval().loss("discriminator", batch(), DRAWS)
    assert all(torch.equal(frozen[k], model.state_dict()[k]) for k in before)
