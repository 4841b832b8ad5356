"""Energy models as families: what they find on a mixture, their log Z, the engine, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from pushforward.data.dataset import Batch
from pushforward.denoisers import EDMPrediction, Mixture, MixtureDenoiser
from pushforward.energy import MALA, DenoisingAt, FiniteDifference, SlicedReduced
from pushforward.errors import UserError
from pushforward.flows import Gaussian
from pushforward.models.energy import EnergyModel, fitted_moments
from pushforward.models.family import Denoising, Family, HasDensity
from pushforward.models.noisy_energy import NoisyEnergyModel
from pushforward.networks.energy import image_potential, vector_potential
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, LogNormalTimes, Stratified
from pushforward.training import Recipe, fit

WORLD = Mixture.of_covariances(
    torch.tensor([0.7, 0.3]), torch.tensor([[-1.0, -0.5], [1.2, 0.8]]), torch.tensor([[0.2, 0.1], [0.1, 0.3]])
)
NEAR = Mixture.of_covariances(
    torch.tensor([0.7, 0.3]), torch.tensor([[-0.5, -0.3], [0.7, 0.5]]), torch.tensor([[0.2, 0.3], [0.4, 0.3]])
)
"""Modes that overlap: where they do not, score matching without noise says nothing of their weights."""
PATH = EDM(sigma_min=0.1, sigma_max=10.0)
_SLICED = SlicedReduced()


def noisy(dim=2, num_classes=0, width=32):
    torch.manual_seed(0)
    potential = vector_potential(dim, width, 2, num_classes or None)
    times = Stratified(LogNormalTimes(-0.8, 1.0, 1.0))
    return NoisyEnergyModel(potential, PATH, EDMPrediction(1.0), times, (dim,), num_classes)


def plain(dim=2, num_classes=0, width=32, loss=_SLICED):
    torch.manual_seed(0)
    potential = vector_potential(dim, width, 2, num_classes or None)
    return EnergyModel(potential, (dim,), loss, num_classes=num_classes, rungs=30)


def trained(model, steps, world=WORLD, labels=False, batch=256):
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for i in range(steps):
        draws = Draws.of(i, range(i * batch, (i + 1) * batch), "train")
        values = world.sample(draws.at("data"))
        drawn = (values[:, 0] + values[:, 1] > 0.3).long() if labels else None
        loss = model.loss("loss", Batch(values, drawn), draws).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - i / steps)
    return model.eval()


@pytest.fixture(scope="module")
def learned():
    return trained(noisy(), 200)


def integral(model, labels=None):
    line = torch.linspace(-5, 5, 161)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    labels = None if labels is None else torch.full((len(grid),), labels)
    return float(model.log_prob(grid, labels).exp().sum()) * float(line[1] - line[0]) ** 2


def test_an_energy_at_every_level_learns_the_density_that_its_log_z_makes_integrate_to_one(learned):
    found = learned.estimate_log_z(Draws.of(0, range(400), "z"), rungs=30)
    assert found.trusted and found.standard_error < 0.1
    assert integral(learned) == pytest.approx(1.0, abs=4 * found.standard_error)
    x = WORLD.sample(Draws.of(1, range(1000))) + 0.1 * Draws.of(2, range(1000)).normal((2,))
    exact = MixtureDenoiser(WORLD, PATH).log_prob(x, PATH.level(PATH.t_min))
    miss = learned.log_prob(x) - exact
    assert -0.1 < -float(miss.mean()) < 0.2  # the divergence from the truth, and far below one of a Gaussian
    gaussian = torch.distributions.MultivariateNormal(WORLD.mean(), WORLD.covariance())
    assert float((gaussian.log_prob(x) - exact).mean()) < float(miss.mean()) - 0.1
    told = learned.density(x, None, Draws.of(0, range(len(x))))
    assert torch.equal(told.nats, learned.log_prob(x))
    assert told.standard_error[0].item() == pytest.approx(found.standard_error)
    assert "annealed importance sampling" in told.method and "noise of σ/α = 0.1" in told.of


def test_its_samples_have_the_right_modes_by_any_way(learned):
    x = learned.draw(Draws.of(3, range(2000)))
    share = float((x.sum(1) > 0.3).double().mean())
    exact = WORLD.sample(Draws.of(4, range(20000)))
    assert share == pytest.approx(float((exact.sum(1) > 0.3).double().mean()), abs=0.05)
    alone = learned.draw(Draws.of(3, range(5, 6)))
    assert torch.allclose(alone[0], x[5], atol=1e-4)


def test_training_on_forgets_log_z(learned):
    state = {name: value.clone() for name, value in learned.state_dict().items()}
    learned.normaliser.keep(None, learned.estimate_log_z(Draws.of(0, range(20)), rungs=4))
    learned.train().loss("loss", Batch(torch.zeros(2, 2)), Draws.of(0, range(2)))
    with pytest.raises(UserError, match="call estimate_log_z once after training"):
        learned.log_prob(torch.zeros(1, 2))
    learned.eval().load_state_dict(state)


@pytest.mark.parametrize(
    "loss", [SlicedReduced(), FiniteDifference(0.1), DenoisingAt(0.2)], ids=["sliced", "fd", "dsm"]
)
def test_one_energy_by_score_matching(loss):
    model = trained(plain(width=16, loss=loss), 90, NEAR)
    data = NEAR.sample(Draws.of(5, range(500)))
    found = model.estimate_log_z(Draws.of(0, range(200), "z"), rungs=12, data=data[:50])
    assert found.upper is not None
    assert integral(model) == pytest.approx(1.0, abs=5 * found.standard_error + 0.02)
    x = model.draw(Draws.of(6, range(200)))
    assert ((x.mean(0) - NEAR.mean()).abs() < 0.25).all()
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert float(model.log_prob(data).mean()) > float(gaussian.log_prob(data).mean()) + 0.03


def test_another_base_and_another_kernel_give_the_same_log_z():
    model = trained(plain(width=16), 40, NEAR)
    draws = Draws.of(0, range(300), "z")
    usual = model.estimate_log_z(draws, rungs=15)
    base = Gaussian(torch.zeros(2), torch.full((2,), 1.3))
    other = model.estimate_log_z(draws, rungs=30, base=base, kernel=MALA(0.3))
    error = (usual.standard_error**2 + other.standard_error**2) ** 0.5
    assert usual.value == pytest.approx(other.value, abs=4 * error)


@pytest.mark.parametrize("make", [noisy, plain], ids=["noisy", "plain"])
def test_every_label_has_a_density_of_its_own(make):
    model = trained(make(num_classes=2, width=16), 80, WORLD, labels=True)
    for label in (0, 1, None):
        found = model.estimate_log_z(Draws.of(0, range(100), "z"), label, rungs=10)
        if label is not None:
            assert integral(model, label) == pytest.approx(1.0, abs=5 * found.standard_error + 0.02)
    x = WORLD.means
    scores = torch.stack([model.log_prob(x, torch.full((2,), label)) for label in (0, 1)])
    assert not torch.allclose(scores[0], scores[1])
    drawn = model.draw(Draws.of(1, range(60)), torch.arange(60) % 2)
    right = float(((drawn.sum(1) > 0.3).long() == torch.arange(60) % 2).double().mean())
    if make is noisy:  # without noise a label's energy is never seen where the other label's data are
        assert scores[0, 0] > scores[1, 0] and scores[1, 1] > scores[0, 1]
        assert right > 0.8
    with pytest.raises(UserError, match="no label 7"):
        model.estimate_log_z(Draws.of(0, range(4)), 7)
    with pytest.raises(UserError, match="conditional on labels"):
        model.loss("loss", Batch(x), Draws.of(0, range(2)))


def test_images_and_the_engine(tmp_path):
    torch.manual_seed(0)
    shape = (1, 4, 4)
    potential = image_potential(1, 8, (1,), 1)
    model = NoisyEnergyModel(potential, PATH, EDMPrediction(1.0), Stratified(LogNormalTimes()), shape)

    class Items:
        def __len__(self):
            return 32

        def batch(self, indices):
            return Batch(Draws.of(0, indices.tolist()).normal(shape))

    recipe = Recipe(steps=4, batch_size=8, warmup_steps=1, device="cpu", validate_every=2)
    fit(model, Items(), Items(), recipe, tmp_path / "run", {})
    model.eval()
    assert model.draw(Draws.of(0, range(2))).shape == (2, *shape)
    found = model.estimate_log_z(Draws.of(0, range(10)), rungs=3)
    assert model.log_prob(torch.zeros(2, *shape)).isfinite().all() and found.chains == 10
    assert EnergyModel(potential, shape, DenoisingAt(0.3), rungs=3).draw(Draws.of(0, range(2))).shape == (2, *shape)


def test_they_are_families():
    assert isinstance(noisy(), Denoising) and isinstance(plain(), Family) and not isinstance(plain(), Denoising)
    assert isinstance(noisy(), HasDensity) and isinstance(plain(), HasDensity)
    assert not noisy().discrete and not plain().discrete
    with pytest.raises(UserError, match="scale"):
        EnergyModel(vector_potential(2), (2,), scale=0.0)


def test_numbers_that_are_not_finite_are_refused():
    x = torch.zeros(3, 2)
    x[1, 0] = torch.nan
    for ask in (
        lambda: plain().loss("loss", Batch(x), Draws.of(0, range(3))),
        lambda: plain().log_prob(x),
        lambda: noisy().log_prob(x),
    ):
        with pytest.raises(UserError, match="holds nan at sample 1, entry 0"):
            ask()


def test_moments_of_few_samples_are_per_coordinate_and_none_is_zero():
    few, many = (Draws.of(0, range(n)).normal((3,)) * torch.tensor([1.0, 2.0, 0.0]) for n in (8, 40))
    assert fitted_moments(few).axes is None and fitted_moments(many).axes is not None
    for found in (fitted_moments(few), fitted_moments(many)):
        assert float(found.variances.min()) > 1e-4
