"""Likelihoods: densities against SciPy and torch, gradients against differences, simulated measurements, units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    AveragePool,
    Blur,
    Categorical,
    ChannelsAsComplex,
    Clip,
    Covariance,
    Diagonal,
    Energy,
    Fourier,
    Gaussian,
    Guidance,
    Laplace,
    Magnitude,
    Mask,
    Matrix,
    Observation,
    PlugIn,
    Poisson,
    Product,
    Quantise,
    Transmission,
    gaussian_kernel,
    grey,
    parallel,
    posterior_samples,
    stack,
    subsampled_fourier,
)
from pushforward.inverse.likelihoods.counts import poisson_quantiles
from pushforward.numerics.random import Draws
from pushforward.paths import EDM

F64 = torch.float64
DRAWS = Draws.of(0, range(3), "likelihoods")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return Draws.of(seed, [0], "likelihoods").normal(shape, F64)[0]


KEPT = noise(4, 4) > 0
A = Matrix(noise(5, 6), (1, 2, 3))
X = noise(3, 1, 2, 3, seed=7)
Y = noise(3, 5, seed=8)
ROOT = noise(5, 5, seed=9)
FULL = ROOT @ ROOT.T + torch.eye(5, dtype=F64)


def rate(x: Tensor) -> Tensor:
    """Something positive."""
    return x.exp()


def counts(*shape: int) -> Tensor:
    return (noise(*shape, seed=4).abs() * 4).floor()


LIKELIHOODS = {
    "gaussian": Gaussian(A, Y, 0.3),
    "gaussian per item": Gaussian(A, Y, torch.tensor([0.1, 0.5, 2.0], dtype=F64)),
    "one measurement for all": Gaussian(A, Y[:1], 0.3),
    "of any deviation": Gaussian(A, Y, 0.5, Covariance.of_deviations(noise(5).abs() + 0.1)),
    "of any deviation per item": Gaussian(A, Y, 0.5, Covariance.of_deviations(noise(3, 5).abs() + 0.1, each=True)),
    "correlated": Gaussian.correlated(A, Y, Covariance.of_matrix(FULL)),
    "correlated per item": Gaussian(A, Y, 0.5, Covariance.of_matrix(torch.stack([FULL, 2 * FULL, FULL + 1]))),
    "not linear": Gaussian(Clip(-0.5, 0.5) @ A, Y, 0.3),
    "laplace": Laplace(A, Y, 0.4),
    "energy": Energy(lambda x: x.flatten(1).pow(4).sum(1)),
    "class": Categorical(lambda x: x.flatten(1)[:, :4], torch.tensor([0, 3, 1])),
    "class for all": Categorical(lambda x: x.flatten(1)[:, :4], torch.tensor([2])),
    "product": Product((Gaussian(A, Y, 0.3), Laplace(A, Y, 1.0))),
}


@pytest.fixture(params=LIKELIHOODS)
def likelihood(request: pytest.FixtureRequest):
    return LIKELIHOODS[request.param]


def test_gradients_are_those_of_differences(likelihood):
    u, step = noise(*X.shape, seed=2), 1e-6
    assert likelihood.log_prob(X).shape == (3,)
    slope = (likelihood.log_prob(X + step * u) - likelihood.log_prob(X - step * u)) / (2 * step)
    found = (likelihood.gradient(X) * u).flatten(1).sum(1)
    assert torch.allclose(found, slope, rtol=1e-5, atol=1e-5)


def test_items_are_judged_as_each_alone(likelihood):
    together = likelihood.log_prob(X)
    for i in range(3):
        alone = likelihood.select(torch.tensor([i]))
        assert torch.allclose(alone.log_prob(X[i : i + 1]), together[i : i + 1], rtol=0, atol=1e-9)
    index = torch.tensor([2, 2, 0, 1])
    assert torch.allclose(likelihood.select(index).log_prob(X[index]), together[index], rtol=0, atol=1e-9)


def test_the_gaussian_density_is_scipys():
    clean = A(X)
    for name, covariance in (
        ("gaussian", [0.09 * np.eye(5)] * 3),
        ("gaussian per item", [s**2 * np.eye(5) for s in (0.1, 0.5, 2.0)]),
        ("correlated", [FULL.numpy()] * 3),
        ("correlated per item", [0.25 * FULL.numpy(), 0.5 * FULL.numpy(), 0.25 * (FULL + 1).numpy()]),
        ("of any deviation", [0.25 * np.diag((noise(5).abs() + 0.1).numpy() ** 2)] * 3),
    ):
        one = LIKELIHOODS[name]
        for i in range(3):
            expected = stats.multivariate_normal.logpdf(one.y[i], clean[i], covariance[i])
            assert float(one.log_prob(X)[i]) == pytest.approx(expected, abs=1e-9)


def test_correlated_noise_can_be_whitened():
    for name in ("correlated", "correlated per item", "of any deviation"):
        one = LIKELIHOODS[name]
        white = one.whitened()
        assert white.covariance is None and white.operator.check() < 1e-9
        assert torch.allclose(white.gradient(X), one.gradient(X), rtol=0, atol=1e-9)
        assert torch.allclose(white.chi2(X), one.chi2(X), rtol=0, atol=1e-9)
        with pytest.raises(UserError, match="whitened"):
            _ = one.linear
    assert LIKELIHOODS["gaussian"].whitened() is LIKELIHOODS["gaussian"]
    # A singular system survives weights.
    weighted = Gaussian(Mask(KEPT), noise(1, 1, 4, 4), 1.0, Covariance.of_deviations(noise(4, 4).abs() + 0.1))
    assert weighted.whitened().operator.svd((1, 4, 4)) is not None


def test_stationary_noise_is_that_of_its_covariance_matrix():
    power = Blur(gaussian_kernel(3, 0.7, F64)).spectrum(torch.zeros(1, 1, 4, 6, dtype=F64)).abs()[0, 0] ** 2 + 0.1
    covariance = Covariance.of_spectrum(power)
    root = Matrix.of(covariance.root, (1, 4, 6)).matrix
    matrix = Covariance.of_matrix(root @ root.T, (1, 4, 6))
    x, y = noise(2, 1, 4, 6), noise(2, 1, 4, 6, seed=1)
    blur = Blur(gaussian_kernel(3, 1.0, F64))
    one, other = (Gaussian.correlated(blur, y, c) for c in (covariance, matrix))
    assert torch.allclose(one.log_prob(x), other.log_prob(x), rtol=0, atol=1e-9)
    white = Covariance.of_spectrum(torch.full((4, 6), 0.09, dtype=F64))
    assert torch.allclose(Gaussian.correlated(blur, y, white).log_prob(x), Gaussian(blur, y, 0.3).log_prob(x))


def test_only_what_was_measured_counts():
    x, y = noise(2, 1, 4, 4), noise(2, 1, 4, 4, seed=1)
    y[..., ~KEPT] = torch.nan  # what was not measured may be anything
    one = Gaussian(Mask(KEPT), y, 0.2)
    expected = stats.norm.logpdf(y[..., KEPT], x[..., KEPT], 0.2).sum((1, 2))
    assert np.allclose(one.log_prob(x), expected, atol=1e-9)
    assert not bool(one.gradient(x)[..., ~KEPT].any())
    assert one.count().tolist() == [int(KEPT.sum())] * 2
    weighted = Gaussian(Mask(KEPT), y, 1.0, Covariance.of_deviations(torch.full((4, 4), 0.2, dtype=F64)))
    assert torch.allclose(weighted.log_prob(x), one.log_prob(x), rtol=0, atol=1e-9)


def test_complex_noise_has_its_deviation_in_each_part():
    mri = subsampled_fourier(KEPT)
    x = torch.complex(noise(500, 1, 4, 4), noise(500, 1, 4, 4, seed=1))
    seen = Gaussian.measure(mri, x, 0.3, Draws.of(1, range(500)))
    error = (seen.y - mri(x))[..., KEPT]
    assert float(error.real.std()) == pytest.approx(0.3, rel=0.05)
    assert float(error.imag.std()) == pytest.approx(0.3, rel=0.05)
    assert not bool((seen.y - mri(x))[..., ~KEPT].any())
    assert float(seen.chi2(x).mean()) == pytest.approx(1, rel=0.05)
    flat = torch.view_as_real(error).flatten(1).numpy()
    assert np.allclose(seen.log_prob(x), stats.norm.logpdf(flat, 0, 0.3).sum(1))


@pytest.mark.parametrize("name", ["gaussian", "gaussian per item", "correlated", "correlated per item", "laplace"])
def test_simulated_measurements_have_their_law(name):
    likelihood = LIKELIHOODS[name]
    count = 3000
    index = torch.arange(3).repeat_interleave(count)
    many, x = likelihood.select(index), X[index]
    residual = (many.simulate(x, Draws.of(3, range(3 * count))) - A(x)).reshape(3, count, 5)
    for i in range(3):
        found = torch.cov(residual[i].T)
        if name == "laplace":
            assert stats.kstest(residual[i].flatten(), stats.laplace(scale=0.4).cdf).pvalue > 1e-3
            continue
        unit = torch.eye(5, dtype=F64)
        expected = {
            "gaussian": 0.09 * unit,
            "gaussian per item": (0.1, 0.5, 2.0)[i] ** 2 * unit,
            "correlated": FULL,
            "correlated per item": 0.25 * (FULL, 2 * FULL, FULL + 1)[i],
        }[name]
        assert float((found - expected).abs().max() / expected.max()) < 0.12
    again = likelihood.simulate(X, DRAWS)
    alone = likelihood.select(torch.tensor([1])).simulate(X[1:2], DRAWS[torch.tensor([1])])
    assert torch.allclose(alone, again[1:2], rtol=0, atol=1e-12)


def test_counts():
    x = noise(3, 5).exp()
    y = counts(3, 5)
    one = Poisson(Diagonal(torch.full((5,), 2.0, dtype=F64)), y / 4, 4.0)
    assert np.allclose(one.log_prob(x), stats.poisson.logpmf(y, 8 * x).sum(1), atol=1e-9)
    u, step = noise(3, 5, seed=5), 1e-6
    slope = (one.log_prob(x + step * u) - one.log_prob(x - step * u)) / (2 * step)
    assert torch.allclose((one.gradient(x) * u).sum(1), slope, rtol=1e-5)
    assert one.log_prob(-x).tolist() == [-math.inf] * 3
    assert bool(torch.isfinite(one.gradient(-x)).all())
    lots = one.simulate(x.repeat(2000, 1), Draws.of(1, range(6000))).reshape(2000, 3, 5) * 4
    assert torch.equal(lots, lots.round())
    assert torch.allclose(lots.mean(0), 8 * x, rtol=0.05, atol=0.1)
    assert torch.allclose(lots.var(0), 8 * x, rtol=0.2, atol=0.1)
    with pytest.raises(UserError, match="rates of at least 0"):
        one.simulate(-x, DRAWS)


def test_photons_behind_an_item():
    """Log-Poisson tomography: the density in closed form, its gradient, and an estimate by the pseudo-inverse."""
    radon = parallel(6, 9)
    x = noise(2, 1, 6, 6).abs() / 10
    beam = Transmission(radon, 1e4)
    y = Poisson(beam, torch.zeros(2, *radon.image)).simulate(x, Draws.of(0, range(2)))
    one = Poisson(beam, y)
    expected = stats.poisson.logpmf(y.numpy(), 1e4 * np.exp(-radon(x).numpy())).sum((1, 2, 3))
    assert np.allclose(one.log_prob(x), expected, atol=1e-6)
    u, step = noise(2, 1, 6, 6, seed=5), 1e-6
    slope = (one.log_prob(x + step * u) - one.log_prob(x - step * u)) / (2 * step)
    assert torch.allclose((one.gradient(x) * u).flatten(1).sum(1), slope, rtol=1e-4)
    assert float((beam.pseudo_inverse(y) - x).abs().max()) < 0.1
    assert one.check() < 0.02


def test_quantiles_of_counts_are_scipys():
    u = np.linspace(0.001, 0.999, 57)[:, None]
    rates = np.array([0.0, 1e-8, 0.3, 2.0, 40.0, 1e4])
    assert np.array_equal(poisson_quantiles(u, rates), stats.poisson.ppf(u, rates))


def test_classes_are_drawn_as_often_as_the_classifier_says():
    logits = torch.tensor([0.5, -1.0, 2.0], dtype=F64)
    one = Categorical(lambda x: logits.expand(len(x), 3), torch.tensor([2]))
    drawn = one.simulate(torch.zeros(20000, 1), Draws.of(1, range(20000)))
    assert torch.allclose(torch.bincount(drawn, minlength=3).double() / 20000, logits.softmax(0), atol=0.015)
    assert torch.allclose(one.log_prob(torch.zeros(2, 1)), logits.log_softmax(0)[2].expand(2))


def test_a_product_simulates_each_of_its_parts():
    first, second = LIKELIHOODS["product"].simulate(X, DRAWS)
    assert first.shape == second.shape == (3, 5) and not torch.allclose(first, second)
    with pytest.raises(UserError, match="no measurements to simulate"):
        LIKELIHOODS["energy"].simulate(X, DRAWS)


@dataclass(frozen=True)
class Bytes:
    """Pixels 0 … 255 for [-1, 1]."""

    scale: float = 127.5
    offset: float = 127.5


UNITS = [
    Gaussian(grey() @ AveragePool(2), noise(2, 1, 2, 2) * 50 + 100, 5.0),
    Gaussian(Mask(KEPT), noise(2, 3, 4, 4) * 50 + 100, 5.0),
    Gaussian(Clip(0.0, 200.0) @ AveragePool(2), noise(2, 3, 2, 2) * 50 + 100, 5.0),
    Laplace(AveragePool(2), noise(2, 3, 2, 2) * 50 + 100, 5.0),
    Poisson(AveragePool(2), counts(2, 3, 2, 2)),
    Categorical(lambda x: x.flatten(1)[:, :4] / 50, torch.tensor([1])),
    Energy(lambda x: x.flatten(1).sum(1)),
    Product((Gaussian(AveragePool(2), noise(2, 3, 2, 2) * 50, 5.0), Laplace(AveragePool(2), noise(2, 3, 2, 2), 5.0))),
]


@pytest.mark.parametrize("likelihood", UNITS, ids=lambda one: type(one).__name__)
def test_in_units_of_the_model_nothing_but_the_units_changes(likelihood):
    x = noise(2, 3, 4, 4).tanh()
    moved = likelihood.in_units(Bytes())
    assert torch.allclose(moved.log_prob(x), likelihood.log_prob(127.5 * x + 127.5), rtol=1e-12, atol=1e-8)
    assert torch.allclose(moved.gradient(x), 127.5 * likelihood.gradient(127.5 * x + 127.5), rtol=1e-9, atol=1e-9)


def test_linear_operators_stay_linear_in_other_units_and_keep_their_structure():
    moved = UNITS[0].in_units(Bytes())
    assert moved.linear.svd((3, 4, 4)) is not None and moved.sigma == 5.0
    assert moved.linear.check((3, 4, 4)) < 1e-12
    assert (AveragePool(2) @ (2.0 * Blur(noise(3, 3)))).norm((1, 4, 4)) > 0
    assert ((3.0 * AveragePool(2)) @ (2.0 * Mask(torch.ones(4, 4)))).norm((1, 4, 4)) == pytest.approx(3.0)


def test_units_of_columns():
    @dataclass(frozen=True)
    class Table:
        scale: tuple[float, ...] = (2.0, 0.5, 10.0)
        offset: tuple[float, ...] = (1.0, 0.0, -3.0)

    one = Gaussian(Matrix(noise(2, 3)), noise(4, 2), 0.3)
    x = noise(4, 3, seed=1)
    user = x * torch.tensor(Table().scale).double() + torch.tensor(Table().offset).double()
    assert torch.allclose(one.in_units(Table()).log_prob(x), one.log_prob(user), rtol=0, atol=1e-9)


def test_what_the_operator_can_give_is_in_its_range():
    x = noise(2, 3, 4, 4)
    box = Blur(torch.full((2, 2), 0.25, dtype=F64))
    assert Gaussian(box, box(x), 0.0).check() < 1e-10
    with pytest.raises(UserError, match=r"outside the operator's range: .* differs by"):
        Gaussian(box, noise(2, 3, 4, 4, seed=2), 0.0).check()
    assert Gaussian(box, noise(2, 3, 4, 4, seed=2), 1.0).check() > 0.01  # noise explains as much
    with pytest.raises(UserError, match="outside the operator's range"):
        Gaussian(Quantise(3, 0.0, 1.0), torch.full((1, 1, 2, 2), 0.4), 0.0).check()
    with pytest.raises(UserError, match="outside"):
        Gaussian(Clip(0.0, 1.0), torch.full((1, 1, 2, 2), 100.0), 0.05).check()  # in other units
    with pytest.raises(UserError, match="outside"):
        Laplace(Clip(0.0, 1.0), torch.full((1, 1, 2, 2), 100.0), 0.05).check()
    assert Poisson(AveragePool(2), counts(2, 1, 2, 2)).check() < 1e-12
    assert Poisson(AveragePool(2), torch.zeros(2, 1, 2, 2)).slack() == 0


def test_an_exact_measurement_has_a_residual_and_no_density():
    exact = Observation(Mask(KEPT), noise(1, 1, 4, 4), 0.0)
    assert exact.exact and bool(exact.residual(noise(2, 1, 4, 4)).any())
    for asked in (exact.log_prob, exact.gradient, exact.chi2):
        with pytest.raises(UserError, match=r"free of noise \(sigma = 0\) has no density"):
            asked(noise(2, 1, 4, 4))


REAL, COMPLEX = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.complex64)
HOLED = torch.where(torch.eye(5).bool(), torch.nan, 0.0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Gaussian(A, Y, -0.1), "at least 0, or one per item .* sigma = -0.1"),
        (lambda: Gaussian(A, Y, math.nan), "sigma = nan"),
        (lambda: Gaussian(A, Y, torch.tensor([0.1, -1.0, 1.0])), "at least 0, or one per item"),
        (lambda: Gaussian(A, Y, torch.tensor([0.1, 1.0])), "2 items, and there are 3 measurements"),
        (lambda: Gaussian(A, HOLED, 0.1), r"not finite in 5 of 25 places, first in \(0, 0\): leave out"),
        (lambda: Gaussian(A, Y[:, :4], 0.1), r"shape \(3, 4\), and \('B', 5\) was expected"),
        (lambda: Gaussian(A, Y, 0.1).log_prob(X[:2]), "3 measurements for 2 items"),
        (lambda: Gaussian(Mask(KEPT), COMPLEX, 0.1).log_prob(REAL), "measurement is complex and .* gives is real"),
        (lambda: Gaussian(A, torch.complex(Y, Y), 0.1), "measurement is complex"),
        (lambda: Gaussian(Fourier(), REAL, 0.1).log_prob(COMPLEX), "measurement is real and .* gives is complex"),
        (lambda: Gaussian(Fourier(), COMPLEX, 0.1).log_prob(REAL), "compose it with RealAsComplex"),
        (lambda: Gaussian(Clip(0, 1), REAL, 0.1).linear, "Clip is not linear"),
        (lambda: Gaussian(Mask(KEPT), REAL, 1.0, Covariance.of_spectrum(torch.ones(4, 4))), "Matrix of the rows"),
        (lambda: Covariance.of_deviations(torch.zeros(3)), "finite and above 0"),
        (lambda: Covariance.of_matrix(torch.ones(2, 3)), "symmetric"),
        (lambda: Covariance.of_matrix(torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "positive definite"),
        (lambda: Covariance.of_spectrum(torch.zeros(2, 2)), "above 0 everywhere"),
        (lambda: Covariance.of_spectrum(torch.arange(1.0, 17).reshape(4, 4)), "is even"),
        (lambda: Poisson(AveragePool(1), torch.full((1, 1, 2, 2), -1.0)), "of at least 0"),
        (lambda: Poisson(AveragePool(1), torch.full((1, 1, 2, 2), 0.5)), "whole numbers, one is off by 0.5"),
        (lambda: Poisson(AveragePool(1), REAL, 0.0), "gain of a Poisson"),
        (lambda: Laplace(A, Y, 0.0), "scale of Laplace"),
        (lambda: Laplace(Fourier(), COMPLEX, 1.0), "use Gaussian"),
        (lambda: Categorical(rate, torch.tensor([0.5])), "labels are integers"),
        (lambda: Categorical(rate, torch.tensor([3])).log_prob(torch.zeros(2, 3)), "labels up to 3"),
        (lambda: Categorical(rate, torch.tensor([1, 1, 1])).log_prob(torch.zeros(2, 3)), "3 labels for 2 items"),
        (lambda: Product(()), "at least one"),
        (lambda: Energy(rate).log_prob(torch.zeros(2, 3)), r"one number per item, \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_magnitudes_are_real_measurements_of_complex_items():
    operator = Magnitude(Fourier() @ ChannelsAsComplex())
    x = noise(2, 2, 4, 4)
    seen = Gaussian.measure(operator, x, 0.01, Draws.of(0, range(2)))
    assert not seen.y.is_complex() and float(seen.chi2(x).mean()) == pytest.approx(1, abs=0.6)
    assert seen.check() < 0.1


def test_whole_numbers_are_measurements_too():
    x = noise(2, 1, 4, 4)
    y = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    blur = Blur(gaussian_kernel(3, 1.0, F64))
    found = Gaussian(blur, y, 2.0).in_units(Bytes()).log_prob(x)
    assert torch.allclose(found, Gaussian(blur, y.double(), 2.0).log_prob(127.5 * x + 127.5))


def test_a_stack_of_measurements_is_one_measurement():
    both = stack(AveragePool(2), Blur(noise(3, 3)), shape=(1, 4, 4))
    x = noise(2, 1, 4, 4)
    ys = (noise(2, 1, 2, 2), noise(2, 1, 4, 4, seed=1))
    together = Gaussian(both, both.join(ys), 0.3).log_prob(x)
    apart = Product(tuple(Gaussian(part, y, 0.3) for part, y in zip(both.parts, ys, strict=True))).log_prob(x)
    assert torch.allclose(together, apart, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("operator", "y", "sigma", "said"),
    [
        (lambda x: x, Y, 0.1, "a measurement is made by an operator, and a function was given: as_operator"),
        (A, torch.tensor(1.0), 0.1, "behind an axis of items"),
        (A, Y[:0], 0.1, "behind an axis of items"),
        (A, "y", 0.1, "an array of numbers"),
        (A, Y, "much", "must be a number of at least 0"),
        (A, Y, [0.1, 0.2], "sigma was given for 2 items, and there are 3 measurements"),
    ],
)
def test_what_is_no_measurement_is_told_in_a_sentence(operator, y, sigma, said):
    with pytest.raises(UserError, match=said):
        Gaussian(operator, y, sigma)


def test_arrays_and_lists_are_taken_as_tensors_are():
    sigma = [0.1, 0.2, 0.3]
    expected = Gaussian(A, Y, torch.tensor(sigma, dtype=F64)).log_prob(X)
    for given in (sigma, np.array(sigma)):
        found = Gaussian(A, Y.numpy(), given)
        assert torch.equal(found.log_prob(X), expected)
        assert torch.equal(found.select(torch.tensor([2, 0])).log_prob(X[[2, 0]]), expected[[2, 0]])
    assert torch.equal(Gaussian(A, Y, torch.tensor([0.2])).log_prob(X), Gaussian(A, Y, np.float32(0.2)).log_prob(X))


def test_a_likelihood_of_other_items_than_are_asked_for_is_refused():
    """Two measurements for three items have none for the last; of four, two would be left out in silence."""
    prior = MixtureDenoiser(Mixture.of_covariances(torch.ones(1), torch.zeros(1, 6), torch.eye(6)[None]), EDM())
    for likelihood in (
        Gaussian(A, Y, 0.1),
        Gaussian(A, Y[:1], torch.tensor([0.1, 0.2, 0.3])),
        Categorical(lambda x: x.flatten(1), torch.tensor([0, 1, 2])),
        Product((Gaussian(A, Y[:1], 0.1), Gaussian(A, Y, 0.1))),
    ):
        for items in (2, 4):
            with pytest.raises(UserError, match=f"measurements of 3 items, and items = {items} was asked for"):
                posterior_samples(Guidance(PlugIn()), prior, likelihood, (1, 2, 3), items=items)
            with pytest.raises(UserError, match="items"):
                likelihood.select(torch.tensor([0, 5]))


def test_a_measurement_with_a_few_loud_numbers_is_within_its_noise():
    """The geometric mean of deviations says nothing of them: one in five is 10⁴ times as loud."""
    tall = Matrix(noise(8, 6), (1, 2, 3))
    loud = Covariance.of_deviations(torch.tensor([10.0, *[1e-3] * 7]))
    y = tall(X) + 8 * torch.eye(8, dtype=F64)[:1]
    assert Gaussian.correlated(tall, y, loud).check() > 1e-3  # out of the range, as far as this noise explains
    with pytest.raises(UserError, match="outside the operator's range"):
        Gaussian(tall, y, 1e-3).check()
