"""Likelihoods, bits per dimension and latents of exact denoisers: closed forms, quadrature, the discrete truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pushforward.data.columns import Columns
from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.flows import AdaptiveFlow
from pushforward.models.likelihood import (
    BitsPerDim,
    ProbabilityFlow,
    bin_width,
    log_of_mean,
    mean_of_logs,
    spherical,
)
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.divergence import Hutchinson
from pushforward.numerics.random import Draws, normal
from pushforward.paths import CLEAN, EDM, VP


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def mixture_of(weights, means, deviations):
    """A mixture with isotropic components; means (K, D)."""
    return Mixture.of_covariances(tensor(*weights), tensor(*means), tensor(*deviations) ** 2)


TABLE = Format(Columns(None, ("int64",), "int64", (0.0,), (1.0,), (0.0,), (9.0,), (None,), (None,)))
PIXEL = mixture_of((0.4, 0.6), ([-0.4], [0.5]), (0.15, 0.1))
PLANE = mixture_of((0.5, 0.2, 0.3), ([-0.7, 0.1], [0.5, 0.8], [0.4, -0.6]), (0.1, 0.3, 0.2))


def flow_of(mixture, path=None, shape=None, **options):
    shape = shape or (mixture.dim,)
    covariance = mixture.covariance()
    covariance = covariance if len(shape) == 1 else covariance.diagonal().reshape(shape)
    denoiser = MixtureDenoiser(mixture, path or EDM())
    return ProbabilityFlow(denoiser, Moments.of(mixture.mean().reshape(shape), covariance), **options)


def truth(mixture, x):
    return MixtureDenoiser(mixture, EDM()).log_prob(x, CLEAN)


@pytest.mark.parametrize("path", [EDM(), VP(t_min=1e-5)], ids=["edm", "vp"])
@pytest.mark.parametrize("mixture", [PIXEL, PLANE], ids=["1-D", "2-D"])
def test_log_prob_is_the_density(mixture, path):
    x = mixture.sample(Draws.of(0, range(50)))
    found = flow_of(mixture, path).log_prob(x)
    assert (found.nats - truth(mixture, x)).abs().max() < 1e-3
    assert found.method == "exact divergence" and (found.standard_error == 0).all()
    assert set(found.evaluations.tolist()) == {100} and "to 0" in found.density


def test_densities_integrate_to_one():
    grid = torch.linspace(-2.5, 2.5, 2001, dtype=torch.float64)[:, None]
    density = flow_of(PIXEL, chunk=4096).log_prob(grid).nats.exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1, abs=1e-3)


def test_a_wrong_denoiser_still_has_a_density():
    """The flow of any denoiser is a bijection: its own density integrates to one, though it is not that of the data."""
    grid = torch.linspace(-4, 4, 1601, dtype=torch.float64)[:, None]
    other = mixture_of((1.0,), ([0.2],), (0.5,))
    wrong = ProbabilityFlow(MixtureDenoiser(other, EDM()), Moments.of(PIXEL.mean(), PIXEL.covariance()), chunk=4096)
    density = wrong.log_prob(grid).nats.exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1, abs=1e-3)
    assert (density - truth(PIXEL, grid).exp()).abs().max() > 0.1


@pytest.mark.parametrize("solver", [None, AdaptiveFlow()], ids=["fixed", "adaptive"])
def test_values_depend_neither_on_the_batch_nor_on_the_chunk(solver):
    x = PLANE.sample(Draws.of(1, range(9)))
    options = {"solver": solver} if solver else {}
    together = flow_of(PLANE, **options).log_prob(x).nats
    assert (flow_of(PLANE, chunk=4, **options).log_prob(x).nats - together).abs().max() < 1e-10
    assert (flow_of(PLANE, **options).log_prob(x[5:6]).nats - together[5]).abs().max() < 1e-10


def test_probes_of_a_sample_do_not_depend_on_the_chunk():
    x, rule = PLANE.sample(Draws.of(2, range(40))), Hutchinson(Draws.of(3, range(40)), 6)
    together = flow_of(PLANE).log_prob(x, rule)
    parts = flow_of(PLANE, chunk=7).log_prob(x, rule)
    assert torch.allclose(parts.nats, together.nats) and torch.allclose(parts.standard_error, together.standard_error)
    assert together.method == "Hutchinson, 6 probes"
    standard = (together.nats - truth(PLANE, x)) / together.standard_error
    assert float(standard.abs().median()) < 1.5 and float(together.standard_error.mean()) > 0.01


def test_images_keep_their_shape():
    x = PLANE.sample(Draws.of(4, range(3)))
    flat = ProbabilityFlow(MixtureDenoiser(PLANE, EDM()), Moments.of(PLANE.mean(), PLANE.covariance().diagonal()))
    image = flow_of(PLANE, shape=(1, 2, 1))
    assert torch.allclose(image.log_prob(x.reshape(-1, 1, 2, 1)).nats, flat.log_prob(x).nats)
    assert image.encode(x.reshape(-1, 1, 2, 1)).shape == (3, 1, 2, 1)


class TestBits:
    FORMAT = Format(Pixels((1, 1, 1), Layout.PLANE, "uint8", 0.0, 255.0, True))

    def values(self):
        return np.arange(40, 230, 10, dtype=np.uint8).reshape(-1, 1, 1)

    def exact(self):
        """−log₂ of the mass of the cell [v − ½, v + ½] in model units, by the normal distribution function."""
        low, high = ((self.values().ravel() + shift - 127.5) / 127.5 for shift in (-0.5, 0.5))
        cdf = [
            sum(
                float(w) * 0.5 * (1 + torch.special.erf((torch.from_numpy(v) - float(m)) / (s * math.sqrt(2))))
                for w, m, s in zip(PIXEL.weights, PIXEL.means[:, 0], (0.15, 0.1), strict=True)
            )
            for v in (low, high)
        ]
        return -torch.log2(cdf[1] - cdf[0])

    def bits(self, **options) -> BitsPerDim:
        x = self.FORMAT.encode(self.values()).double()
        flow = flow_of(PIXEL, shape=(1, 1, 1), solver=Adams(60, 3, Bunched(-0.3)))
        return flow.bits_per_dim(x, bin_width(self.FORMAT), Draws.of(0, range(len(x))), **options)

    def test_the_width_is_that_of_the_stored_transform(self):
        assert bin_width(self.FORMAT) == 1 / 127.5
        digits = Format(Pixels((1, 8, 8), Layout.PLANE, "float64", 0.0, 16.0, True))
        assert bin_width(digits, step=1.0) == 1 / 8
        assert -math.log2(bin_width(self.FORMAT)) == pytest.approx(7, abs=0.01)

    @pytest.mark.parametrize("average", [mean_of_logs, log_of_mean])
    def test_they_are_those_of_the_cell(self, average):
        found = self.bits(repeats=16, average=average)
        assert (found.bits - self.exact()).abs().max() < 5e-2
        standard = (found.bits - self.exact()) / found.standard_error
        assert float(standard.abs().median()) < 2 and (found.standard_error > 0).all()
        assert set(found.evaluations.tolist()) == {16 * 61} and "16 uniform dequantisations" in found.method
        assert torch.allclose(found.nats, -found.bits * math.log(2))

    def test_one_dequantisation_reports_the_error_of_the_probes(self):
        assert (self.bits().standard_error == 0).all() and self.bits().method.endswith("1 uniform dequantisation")

    def test_repetitions_renew_noise_and_probes(self):
        draws = Draws.of(5, range(19))
        found = self.bits(repeats=3, divergence=Hutchinson(draws, 2))
        assert (found.standard_error > 0).all() and "Hutchinson, 2 probes" in found.method

    def test_the_mean_of_logs_is_below_the_log_of_the_mean(self):
        nats = normal(torch.arange(30), (40,), torch.float64)
        low, high = mean_of_logs(nats), log_of_mean(nats)
        assert (low[0] < high[0]).all() and low[0].shape == low[1].shape == high[1].shape == (40,)
        same = torch.full((4, 2), -3.0, dtype=torch.float64)
        assert torch.allclose(log_of_mean(same)[0], same[0]) and (log_of_mean(same)[1] == 0).all()

    @pytest.mark.parametrize(
        "make, words",
        [
            (lambda self: bin_width(TABLE), "images of integers"),
            (lambda self: bin_width(Format(Pixels((1, 2, 2), Layout.PLANE, "float32", 0.0, 1.0, True))), "as `step`"),
            (lambda self: bin_width(self.FORMAT, -1.0), "positive number; got -1"),
            (lambda self: self.bits(repeats=0), "at least one dequantisation"),
            (lambda self: flow_of(PIXEL).bits_per_dim(torch.zeros(2, 1), 0.0, Draws.of(0, [0, 1])), "width of a bin"),
            (
                lambda self: flow_of(PIXEL).bits_per_dim(torch.zeros(2, 1), 0.1, Draws.of(0, [0])),
                "2 samples and 1 keys",
            ),
        ],
    )
    def test_wrong_input(self, make, words):
        with pytest.raises(UserError, match=words):
            make(self)


class TestLatents:
    def test_there_and_back(self):
        x = PLANE.sample(Draws.of(6, range(30)))
        flow = flow_of(PLANE, chunk=8)
        assert (flow.decode(flow.encode(x)) - x).abs().max() < 2e-3

    def test_latents_of_data_are_standard_normal_and_the_other_way_round(self):
        flow = flow_of(PLANE, solver=Adams(40, 3, Bunched(-0.3)), chunk=4000)
        z = flow.encode(PLANE.sample(Draws.of(7, range(3000))))
        assert torch.allclose(z.mean(0), tensor(0.0, 0.0), atol=0.07)
        assert torch.allclose(torch.cov(z.T), torch.eye(2).double(), atol=0.1)
        x = flow.decode(Draws.of(8, range(3000)).normal((2,), torch.float64))
        assert torch.allclose(x.mean(0), PLANE.mean(), atol=0.05)
        assert torch.allclose(torch.cov(x.T), PLANE.covariance(), atol=0.04)

    def test_interpolation_starts_and_ends_on_the_data(self):
        x = PLANE.sample(Draws.of(9, range(8)))
        path = flow_of(PLANE).interpolate(x[:4], x[4:], (0.0, 0.5, 1.0))
        assert path.shape == (3, 4, 2)
        assert (path[0] - x[:4]).abs().max() < 2e-3 and (path[2] - x[4:]).abs().max() < 2e-3
        assert torch.isfinite(path).all()

    def test_spherical_keeps_the_variance(self):
        a, b = (normal(torch.arange(k, k + 200), (64,)) for k in (0, 1000))
        for weight in (0.25, 0.5, 0.9):
            assert float(spherical(a, b, weight).var()) == pytest.approx(1, abs=0.03)
        assert float((0.5 * (a + b)).var()) == pytest.approx(0.5, abs=0.03)  # the control: the straight mean

    def test_spherical_in_the_plane(self):
        a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        angle = math.pi / 2 * 0.3
        expected = torch.tensor([[math.cos(angle), math.sin(angle)]])
        assert torch.allclose(spherical(a, b, 0.3), expected)
        assert torch.allclose(spherical(a, a, 0.3), a) and torch.allclose(spherical(a, -a, 0.25), 0.5 * a)
        near = torch.tensor([[1.0, 1e-5]], dtype=torch.float64)
        assert torch.allclose(spherical(a.double(), near, 0.5), torch.tensor([[1.0, 5e-6]]).double(), rtol=1e-6)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: flow_of(PLANE).log_prob(torch.zeros(3, 5)), r"shape \(5,\) were given"),
        (lambda: flow_of(PLANE).encode(torch.zeros(0, 2)), "no samples"),
        (lambda: flow_of(PLANE).decode(torch.tensor([[0.0, 1.0], [torch.inf, 0.0]])), "sample 1 has values"),
        (lambda: flow_of(PLANE).interpolate(torch.zeros(1, 2), torch.zeros(2, 2), [0.5]), "must be the same"),
        (lambda: flow_of(PLANE, chunk=0), "at least one sample; got 0"),
        (
            lambda: ProbabilityFlow(MixtureDenoiser(PLANE, EDM()), Moments.of(torch.zeros(2), torch.zeros(2))),
            "not vary",
        ),
    ],
)
def test_wrong_input(make, words):
    with pytest.raises(UserError, match=words):
        make()
