"""What holds for every linear operator: adjoint, singular system, inverses and norm are those of its matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor

from pushforward.inverse import (
    AveragePool,
    Blur,
    ChannelsAsComplex,
    Coils,
    ColourMix,
    Diagonal,
    Each,
    FanBeam,
    Fourier,
    Function,
    Hartley,
    Identity,
    LinearOperator,
    Mask,
    Matrix,
    ParallelBeam,
    Radon,
    RealAsComplex,
    Separable,
    ZeroBlur,
    as_operator,
    bicubic,
    compressed_sensing,
    grey,
    sense,
    separable_blur,
    stack,
    subsampled_fourier,
)
from pushforward.numerics.random import Draws

F64, C128 = torch.float64, torch.complex128


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    draws = Draws.of(seed, [0], "every operator")
    if dtype.is_complex:
        return torch.view_as_complex(draws.normal((*shape, 2), F64)[0])
    return draws.normal(shape, F64)[0]


def angles(views: int, seed: int = 0) -> Tensor:
    return noise(views, seed=seed) * 3


MAPS = noise(3, 4, 5, dtype=C128)
FREQUENCIES = noise(4, 5, seed=8) > 0
MATRIX = noise(7, 12, seed=3)


def kernel(*shape: int, seed: int = 0) -> Tensor:
    """Noise on a strong central tap: Toeplitz matrices of plain noise are too near to singular to compare inverses."""
    taps = 0.4 * noise(*shape, seed=seed)
    taps[..., shape[-2] // 2, shape[-1] // 2] += 3
    return taps


# name: the operator, the shape of its items, whether it must have a singular system
CASES: dict[str, tuple[LinearOperator, tuple[int, ...], bool]] = {
    "identity": (Identity(), (2, 3), True),
    "hartley": (Hartley(), (1, 4, 5), False),
    "mask": (Mask(noise(4, 5) > 0), (2, 4, 5), True),
    "mask of channels": (Mask(noise(2, 4, 5) > 0), (2, 4, 5), True),
    "mask each": (Mask(noise(3, 1, 4, 5) > 0), (2, 4, 5), True),
    "mask each of vectors": (Mask(noise(3, 6) > 0, each=True), (6,), True),
    "weights": (Diagonal(noise(4, 5)), (2, 4, 5), True),
    "weights each": (Diagonal(noise(3, 1, 4, 5), each=True), (2, 4, 5), True),
    "complex weights": (Diagonal(noise(4, 5, dtype=C128)), (1, 4, 5), True),
    "matrix": (Matrix(MATRIX, (1, 3, 4)), (1, 3, 4), True),
    "matrix tall": (Matrix(MATRIX.T), (7,), True),
    "matrix singular": (Matrix(MATRIX.T @ MATRIX), (12,), True),
    "matrix complex": (Matrix(noise(4, 6, dtype=C128)), (6,), True),
    "matrix each": (Matrix(noise(3, 4, 6)), (6,), True),
    "separable": (Separable(noise(3, 4), noise(6, 5, seed=1)), (2, 4, 5), True),
    "separable each": (Separable(noise(2, 3, 4), noise(2, 6, 5, seed=1)), (2, 4, 5), True),
    "blur 3×3": (Blur(noise(3, 3)), (2, 4, 5), True),
    "blur 4×2": (Blur(noise(4, 2)), (1, 6, 5), True),
    "blur beyond the image": (Blur(noise(7, 6)), (1, 4, 5), True),
    "blur box": (Blur(torch.full((2, 2), 0.25, dtype=F64)), (1, 4, 6), True),
    "blur of channels": (Blur(noise(2, 3, 3)), (2, 4, 5), True),
    "blur each": (Blur(noise(3, 3, 2), each=True), (2, 4, 4), True),
    "blur each of channels": (Blur(noise(3, 2, 3, 3), each=True), (2, 4, 4), True),
    "zero blur 3×3": (ZeroBlur(kernel(3, 3)), (2, 4, 5), False),
    "zero blur 4×2": (ZeroBlur(kernel(4, 2)), (1, 4, 5), False),
    "zero blur beyond": (ZeroBlur(kernel(7, 6)), (1, 4, 5), False),
    "zero blur each": (ZeroBlur(kernel(2, 3, 3), each=True), (2, 4, 5), False),
    "separable blur": (separable_blur(noise(3), noise(4, seed=1), (4, 5)), (2, 4, 5), True),
    "separable blur periodic": (separable_blur(noise(3), noise(4, seed=1), (4, 5), True), (2, 4, 5), True),
    "pool": (AveragePool(2), (2, 4, 6), True),
    "bicubic": (bicubic((4, 6), 2), (1, 4, 6), True),
    "colours": (ColourMix(noise(2, 3)), (3, 2, 4), True),
    "colours each": (ColourMix(noise(2, 2, 3)), (3, 2, 4), True),
    "grey": (grey(), (3, 2, 4), True),
    "hadamard": (compressed_sensing((1, 4, 4), 7, 1), (1, 4, 4), True),
    "hadamard of all": (compressed_sensing((2, 4), 8, 1), (2, 4), True),
    "hadamard of two": (compressed_sensing((2,), 1, 1), (2,), True),
    "fourier": (Fourier(), (1, 4, 5), True),
    "fourier centred": (Fourier(centred=True), (2, 3, 4), True),
    "mri": (subsampled_fourier(FREQUENCIES), (1, 4, 5), True),
    "mri each": (subsampled_fourier(noise(3, 1, 1, 5) > 0), (1, 4, 5), True),
    "mri of two channels": (subsampled_fourier(FREQUENCIES) @ ChannelsAsComplex(), (2, 4, 5), True),
    "mri of real images": (subsampled_fourier(FREQUENCIES) @ RealAsComplex(), (1, 4, 5), False),
    "coils": (Coils(MAPS), (1, 4, 5), True),
    "sense": (sense(MAPS, FREQUENCIES), (1, 4, 5), False),
    "sense each": (sense(noise(2, 3, 4, 5, dtype=C128), FREQUENCIES), (1, 4, 5), False),
    "radon": (Radon((5, 4), ParallelBeam(angles(3), 6, 1.1)), (1, 5, 4), False),
    "radon fan": (Radon((4, 5), FanBeam(angles(3), 5, 8.0, 6.0, 2.0), 2), (2, 4, 5), False),
    "radon each": (
        Each(tuple(Radon((4, 4), ParallelBeam(angles(2, i), 4)) for i in range(3))),
        (1, 4, 4),
        False,
    ),
    "scaled": (-2.5 * Blur(noise(3, 3)), (1, 4, 5), True),
    "scaled each": (AveragePool(2) * torch.tensor([-1.0, 0.5, 2.0], dtype=F64), (1, 4, 4), True),
    "grey of pooled": (grey() @ AveragePool(2), (3, 4, 6), True),
    "pooled grey": (AveragePool(2) @ grey(), (3, 4, 6), True),
    "grey of blurred": (grey() @ Blur(noise(3, 3)), (3, 4, 5), True),
    "masked grey": (Mask(noise(4, 5) > 0) @ grey(), (3, 4, 5), True),
    "mask of a mask": (Mask(noise(4, 5) > 0) @ Mask(noise(4, 5, seed=1) > -0.5), (1, 4, 5), True),
    "mask of a blur": (Mask(noise(4, 5) > 0) @ Blur(noise(3, 3)), (1, 4, 5), False),
    "pool of a blur": (AveragePool(2) @ Blur(noise(3, 3)), (1, 4, 6), False),
    "fourier of a blur": (Fourier() @ Blur(noise(3, 3)), (1, 4, 5), True),
    "radon of a mask": (Radon((4, 4), ParallelBeam(angles(2), 4)) @ Mask(noise(4, 4) > 0), (1, 4, 4), False),
    "adjoint of a pool": (AveragePool(2).T, (1, 2, 3), True),
    "adjoint of a radon": (Radon((4, 4), ParallelBeam(angles(2), 4)).T, (1, 2, 4), False),
    "adjoint of sense": (sense(MAPS, FREQUENCIES).T, (3, 4, 5), False),
    "stack of blurs": (stack(Blur(noise(3, 3)), 0.5 * Blur(noise(2, 2)), shape=(1, 4, 5)), (1, 4, 5), True),
    "stack of masks": (stack(Mask(noise(6) > 0), 3 * Mask(noise(6, seed=1) > 0), shape=(6,)), (6,), True),
    "stack of masks each": (stack(Mask(noise(2, 6) > 0, True), Mask(noise(6) > 0), shape=(6,)), (6,), True),
    "stack of kinds": (stack(AveragePool(2), Blur(noise(3, 3)), shape=(1, 4, 4)), (1, 4, 4), False),
    "callable": (Function(lambda x: x.flip(-1)[:, :3].cumsum(1) + x.sum(1, keepdim=True), (5,)), (5,), False),
    "callable, complex": (
        Function(lambda x: torch.fft.fft(x)[:, :3] * (1 + 2j), (5,), complex_items=True),
        (5,),
        False,
    ),
    "callable, real to complex": (Function(torch.fft.fft, (5,)), (5,), False),
    "callable, complex to real": (Function(lambda x: x.real + 2 * x.imag, (5,), complex_items=True), (5,), False),
    "of SciPy": (as_operator(aslinearoperator(MATRIX.numpy()), (1, 3, 4)), (1, 3, 4), False),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[LinearOperator, tuple[int, ...], bool]:
    return CASES[request.param]


def items_of(operator: LinearOperator, shape: tuple[int, ...], batch: int, seed: int = 5) -> Tensor:
    return noise(operator.items or batch, *shape, seed=seed, dtype=C128 if operator.x_complex else F64)


def flat(x: Tensor) -> Tensor:
    """As real vectors: (B, n), real and imaginary parts one behind the other for each number."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1)


def unflat(x: Tensor, like: Tensor) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(x.reshape(len(x), *like.shape[1:], 2).contiguous())
    return x.reshape(len(x), *like.shape[1:])


def dense(operator: LinearOperator, shape: tuple[int, ...]) -> Tensor:
    """The real matrix of each item, column by column: (items or 1, m, n)."""
    like = operator.zeros(shape)
    count = flat(like).shape[1]
    columns = []
    for j in range(count):
        basis = torch.zeros(len(like), count, dtype=F64)
        basis[:, j] = 1
        columns.append(flat(operator(unflat(basis, like))))
    return torch.stack(columns, 2)


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return float((found - expected).abs().max()) <= tolerance * (1 + float(expected.abs().max()))


def test_it_proves_itself(case):
    operator, shape, structured = case
    assert operator.check(shape) < 1e-12
    assert (operator.svd(shape) is not None) == structured


def test_the_adjoint_is_the_transposed_matrix(case):
    operator, shape, _ = case
    y = operator(items_of(operator, shape, 2))
    y = unflat(noise(*flat(y).shape, seed=6), y)
    expected = (dense(operator, shape).mT @ flat(y)[..., None])[..., 0]
    assert close(flat(operator.adjoint(y)), expected, 1e-12)
    assert operator.T.T is operator or operator.T.T.adjoint(y).equal(operator.adjoint(y))


def test_singular_values_and_norm_are_those_of_the_matrix(case):
    operator, shape, structured = case
    expected = torch.linalg.svdvals(dense(operator, shape))
    assert operator.norm(shape) == pytest.approx(float(expected.max()), rel=1e-6)
    if structured:
        system = operator.svd(shape)
        s = system.s.flatten(1)
        # A complex coefficient is two real ones.
        s = s.repeat_interleave(2, 1) if system.v.adjoint(operator.zeros(shape)).is_complex() else s
        length = max(s.shape[1], expected.shape[1])
        s, expected = (torch.nn.functional.pad(v, (0, length - v.shape[1])) for v in (s, expected))
        assert close(s.sort(1, descending=True).values, expected, 1e-10)


def test_the_pseudo_inverse_is_that_of_moore_and_penrose(case):
    operator, shape, structured = case
    y = operator(items_of(operator, shape, 2))
    y = unflat(noise(*flat(y).shape, seed=6), y)
    expected = (torch.linalg.pinv(dense(operator, shape), rtol=1e-10) @ flat(y)[..., None])[..., 0]
    found = operator.pseudo_inverse(y)
    assert close(flat(found), expected, 1e-10 if structured else 1e-6)
    # A A⁺ A = A, and A⁺ A A⁺ = A⁺
    x = items_of(operator, shape, 2)
    assert close(operator(operator.pseudo_inverse(operator(x))), operator(x), 1e-7)
    assert close(operator.pseudo_inverse(operator(found)), found, 1e-6)
    nearest = operator.pseudo_inverse(operator(x), near=x)
    assert close(nearest, x, 1e-8)


@pytest.mark.parametrize("noise_level", [0.3, 0.0])
def test_the_regularised_inverses_are_those_of_the_matrix(case, noise_level):
    operator, shape, structured = case
    x = items_of(operator, shape, 2)
    y = operator(x)
    if noise_level:
        y = unflat(noise(*flat(y).shape, seed=6), y)
    prior = torch.linspace(0.5, 2, len(y), dtype=F64)
    matrix = dense(operator, shape)
    left = prior[:, None, None] * matrix @ matrix.mT + noise_level * torch.eye(matrix.shape[1], dtype=F64)
    right = matrix.mT @ matrix + noise_level * torch.eye(matrix.shape[2], dtype=F64)
    tolerance = 1e-9 if structured else 2e-5
    expected = (torch.linalg.pinv(left, hermitian=True, rtol=1e-12) @ flat(y)[..., None])[..., 0]
    assert close(flat(operator.solve(y, prior, noise_level, 1e-10)), expected, tolerance)
    gain = (matrix.mT @ expected[..., None])[..., 0]
    assert close(flat(operator.gain(y, prior, noise_level)), gain, tolerance)
    x = x if noise_level else operator.adjoint(y)
    expected = (torch.linalg.pinv(right, hermitian=True, rtol=1e-12) @ flat(x)[..., None])[..., 0]
    assert close(flat(operator.solve_normal(x, noise_level, 1e-10)), expected, tolerance)


def test_items_are_measured_as_each_alone(case):
    operator, shape, _ = case
    x = items_of(operator, shape, 3)
    y = operator(x)
    for i in range(len(x)):
        alone = operator.select(torch.tensor([i]))
        assert close(alone(x[i : i + 1]), y[i : i + 1], 1e-12)
        assert close(alone.adjoint(y[i : i + 1]), operator.adjoint(y)[i : i + 1], 1e-12)
        assert alone.items in (None, 1)
        prior = torch.tensor([0.7], dtype=F64)
        found = operator.gain(y, 0.7, 0.2)[i : i + 1]
        assert close(alone.gain(y[i : i + 1], prior, 0.2), found, 1e-6)
    index = torch.tensor([1, 1, 0])
    assert close(operator.select(index)(x[index]), y[index], 1e-12)


def test_single_precision_stays_single(case):
    operator, shape, _ = case
    x = items_of(operator, shape, 2)
    single = x.to(torch.complex64 if x.is_complex() else torch.float32)
    y = operator.to("cpu")(single)
    assert y.dtype in (torch.float32, torch.complex64)
    assert close(y.to(operator(x).dtype), operator(x), 1e-4)
    assert operator.adjoint(y).dtype == single.dtype
    assert operator.gain(y, 0.5, 0.1).dtype == single.dtype
    assert close(operator(operator.pseudo_inverse(y)), y, 2e-2)


def test_gradients_flow_through(case):
    operator, shape, _ = case
    x = items_of(operator, shape, 2).requires_grad_()
    y = operator(x)
    v = unflat(noise(*flat(y).shape, seed=6), y)
    (gradient,) = torch.autograd.grad(y, x, v)
    assert close(gradient, operator.vjp(x.detach(), v), 1e-10)
    assert close(operator.jvp(x.detach(), x.detach()), y.detach(), 1e-12)


def test_zeros_measure_nothing_and_shapes_are_known(case):
    operator, shape, _ = case
    y = operator(operator.zeros(shape))
    assert operator.y_shape(shape) == tuple(y.shape[1:])
    assert not bool(y.abs().any())
    assert math.prod(operator.y_shape(shape)) == y[0].numel()
    assert np.isfinite(operator.norm(shape))
