"""Each operator is the one it is named: against direct sums, SciPy, Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import linalg, ndimage, signal
from torch import Tensor

from pushforward.inverse import (
    AveragePool,
    Blur,
    Coils,
    Fourier,
    Matrix,
    Product,
    ZeroBlur,
    bicubic,
    cgls,
    compressed_sensing,
    estimate_maps,
    gaussian_kernel,
    grey,
    sense,
    separable_blur,
    stack,
    subsampled_fourier,
)
from pushforward.inverse.operators.algebra import Product as Composition
from pushforward.inverse.operators.hadamard import walsh_hadamard
from pushforward.inverse.solve import largest_singular_values
from pushforward.numerics.random import Draws

F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    return Draws.of(seed, [0], "named operators").normal(shape, F64)[0]


sizes = st.integers(1, 7)


@given(sizes, sizes, st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_blurs_of_any_kernel_are_direct_convolutions(height, width, rows, columns, seed):
    kernel, x = noise(height, width, seed=seed), noise(rows, columns, seed=seed + 1)
    full = signal.convolve2d(x.numpy(), kernel.numpy(), "full")
    top, left = height // 2, width // 2
    expected = torch.from_numpy(full[top : top + rows, left : left + columns])
    assert torch.allclose(ZeroBlur(kernel)(x[None, None])[0, 0], expected, rtol=0, atol=1e-11)
    expected = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            expected += kernel[i, j] * torch.roll(x, (i - top, j - left), (0, 1))
    assert torch.allclose(Blur(kernel)(x[None, None])[0, 0], expected, rtol=0, atol=1e-11)


@given(sizes, sizes, st.booleans(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_separable_blurs_are_blurs_by_the_product_of_their_kernels(height, width, periodic, seed):
    rows, columns, x = noise(height, seed=seed), noise(width, seed=seed + 1), noise(1, 2, 5, 4, seed=2)
    kernel = rows[:, None] * columns
    expected = (Blur if periodic else ZeroBlur)(kernel)(x)
    assert torch.allclose(separable_blur(rows, columns, (5, 4), periodic)(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", [5, 9])
def test_a_blur_keeps_every_tap(size):
    """Kernels of odd size lose none: the gain at zero frequency is the kernel's sum."""
    x = torch.ones(1, 3, 12, 12, dtype=F64)
    assert torch.allclose(Blur(gaussian_kernel(size, 2.0, F64))(x), x, rtol=0, atol=1e-12)
    photo = noise(1, 3, 12, 12)
    for channel in range(3):
        expected = ndimage.convolve(photo[0, channel].numpy(), gaussian_kernel(size, 2.0, F64).numpy(), mode="wrap")
        found = Blur(gaussian_kernel(size, 2.0, F64))(photo)[0, channel]
        assert torch.allclose(found, torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("power", range(7))
def test_the_hadamard_transform_is_sylvesters_matrix(power):
    n = 2**power
    expected = torch.from_numpy(linalg.hadamard(n) / np.sqrt(n))
    assert torch.allclose(walsh_hadamard(torch.eye(n, dtype=F64)), expected, rtol=0, atol=1e-12)


def test_compressed_sensing_follows_from_its_seed_and_sees_the_mean():
    one, again, other = (compressed_sensing((1, 8, 8), 20, seed) for seed in (1, 1, 2))
    x = noise(3, 1, 8, 8)
    assert torch.equal(one(x), again(x)) and not torch.allclose(one(x), other(x))
    assert torch.allclose(one(x)[:, 0], x.flatten(1).sum(1) / 8)
    assert len(one.rows.unique()) == 20
    assert compressed_sensing((64,), 64, 3).unitary


@pytest.mark.parametrize(("size", "factor"), [((16, 24), 2), ((32, 16), 4), ((24, 24), 3)])
def test_bicubic_reduction_is_pillows(size, factor):
    x = noise(*size).float()
    small = Image.fromarray(x.numpy()).resize((size[1] // factor, size[0] // factor), Image.Resampling.BICUBIC)
    found = bicubic(size, factor)(x.double()[None, None])[0, 0]
    assert np.allclose(found.numpy(), np.asarray(small), atol=2e-6)


def test_pooling_averages_blocks_and_grey_averages_channels():
    x = noise(1, 3, 4, 6)
    assert torch.allclose(AveragePool(2)(x)[0, 1, 1, 2], x[0, 1, 2:4, 4:6].mean())
    assert torch.allclose(grey()(x)[0, 0], x[0].mean(0))


@pytest.mark.parametrize("shape", [(5, 4), (6, 7)])
def test_the_centred_transform_has_its_origin_in_the_middle(shape):
    point = torch.zeros(1, 1, *shape, dtype=torch.complex128)
    point[0, 0, shape[0] // 2, shape[1] // 2] = 1
    flat = Fourier(centred=True)(point)
    assert torch.allclose(flat, torch.full_like(flat, 1 / np.sqrt(shape[0] * shape[1])))
    back = Fourier(centred=True)(torch.ones_like(point))
    assert float(back[0, 0, shape[0] // 2, shape[1] // 2].abs()) == pytest.approx(np.sqrt(shape[0] * shape[1]))


def coils(count: int, size: int) -> Tensor:
    """Smooth maps around a circle, Σ|map|² = 1."""
    at = torch.linspace(-1, 1, size, dtype=F64)
    angle = torch.arange(count, dtype=F64) * (2 * np.pi / count)
    x, y = at - 1.2 * angle.cos()[:, None, None], at[:, None] - 1.2 * angle.sin()[:, None, None]
    maps = torch.polar(torch.exp(-0.4 * (x**2 + y**2)), 0.8 * (x * angle.cos()[:, None, None] + y))
    return maps / maps.abs().square().sum(0).sqrt()


def test_maps_are_found_from_the_centre_of_k_space():
    size, maps = 48, coils(4, 48)
    at = torch.linspace(-1, 1, size, dtype=F64)
    body = ((at**2 + at[:, None] ** 2) < 0.7).to(F64)
    picture = torch.complex(body * (1 + 0.3 * torch.sin(4 * at)), 0.2 * body)[None, None]
    full = Fourier(centred=True)(Coils(maps)(picture))
    found = estimate_maps(full, calibration=20)
    inside = torch.nn.functional.avg_pool2d(body[None, None], 9, 1, 4)[0, 0] > 0.999
    # Maps are known up to one phase per pixel.
    likeness = (found[0].conj() * maps).sum(0).abs()[inside]
    assert float(likeness.min()) > 0.995
    assert torch.allclose(found[0].abs().square().sum(0)[body.bool()], torch.ones(()).double(), atol=1e-6)
    mask = (torch.arange(size) % 2 == 0) | ((torch.arange(size) - size // 2).abs() < 10)
    seen = subsampled_fourier(mask[None])(Coils(maps)(picture))
    errors = [
        float((sense(m, mask[None]).pseudo_inverse(seen).abs() - picture.abs()).square().mean().sqrt())
        for m in (maps[None], estimate_maps(seen, calibration=19))
    ]
    zero_filled = sense(maps, mask[None]).adjoint(seen).abs() - picture.abs()
    assert errors[0] < 1e-6  # twice fewer lines than pixels, and four coils: the image is determined
    assert errors[1] < 0.6 * float(zero_filled.square().mean().sqrt())


def test_coil_maps_need_room():
    with pytest.raises(ValueError, match="calibration lines"):
        estimate_maps(torch.zeros(1, 2, 8, 8, dtype=torch.complex64), calibration=9)


def test_compositions_that_stay_simple():
    from pushforward.inverse import Identity, Mask

    mask = Mask(torch.ones(4, 4))
    assert Identity() @ mask is mask and mask @ Identity() is mask
    assert isinstance(mask @ mask, Composition)
    assert Product is not Composition


def test_a_matrix_of_any_operator():
    blur = ZeroBlur(noise(3, 2))
    x = noise(2, 1, 4, 3)
    matrix = Matrix.of(blur, (1, 4, 3))
    assert torch.allclose(matrix(x), blur(x), rtol=0, atol=1e-12)
    assert matrix.svd() is not None


def test_the_parts_of_a_stack_come_back():
    both = stack(AveragePool(2), Blur(noise(3, 3)), shape=(1, 4, 4))
    x = noise(2, 1, 4, 4)
    pooled, blurred = both.split(both(x))
    assert torch.equal(pooled, AveragePool(2)(x)) and torch.equal(blurred, Blur(noise(3, 3))(x))


def test_cgls_regularises_by_stopping_and_ends_at_least_squares():
    a, y = noise(9, 6), noise(2, 9, seed=1)
    operator = Matrix(a)
    ends = cgls(operator, operator.adjoint, y)
    assert torch.allclose(ends, y @ torch.linalg.pinv(a).T, rtol=0, atol=1e-10)
    lengths = [float(cgls(operator, operator.adjoint, y, k).norm()) for k in (1, 2, 4, 6)]
    assert lengths == sorted(lengths)


def test_the_largest_singular_value_of_a_long_spectrum():
    spectrum = torch.linspace(0, 1, 400, dtype=F64) ** 0.1
    found = largest_singular_values(lambda v: v * spectrum, lambda v: v * spectrum, torch.zeros(1, 400, dtype=F64))
    assert float(found) == pytest.approx(1.0, rel=1e-4)  # thirty values lie within 1 % of the largest
    assert largest_singular_values(lambda v: 0 * v, lambda v: 0 * v, torch.zeros(2, 5, dtype=F64)).tolist() == [0, 0]
