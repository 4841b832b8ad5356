"""Measurements that are not linear: h(h†(h(x))) = h(x), derivatives, JPEG against Pillow; units."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse import (
    JPEG,
    Affine,
    AveragePool,
    Blur,
    ChannelsAsComplex,
    Clip,
    Fourier,
    Magnitude,
    Mask,
    Matrix,
    NonLinear,
    Operator,
    ParallelBeam,
    Quantise,
    Radon,
    RealAsComplex,
    Transmission,
    gaussian_kernel,
)
from pushforward.inverse.operators.jpeg import CHROMINANCE, LUMINANCE, quantisation
from pushforward.numerics.random import Draws

F64 = torch.float64


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    draws = Draws.of(seed, [0], "not linear")
    if dtype.is_complex:
        return torch.view_as_complex(draws.normal((*shape, 2), F64)[0])
    return draws.normal(shape, F64)[0]


def smooth(*shape: int) -> Tensor:
    """Pictures within [0, 1] that JPEG is made for."""
    x = torch.sigmoid(Blur(gaussian_kernel(7, 2.0, F64))(noise(*shape)) * 6)
    return x * 0.8 + 0.1


CASES: dict[str, tuple[Operator, Tensor]] = {
    "phase retrieval": (Magnitude(Fourier()), noise(2, 1, 4, 5, dtype=torch.complex128)),
    "phase retrieval of two channels": (Magnitude(Fourier() @ ChannelsAsComplex()), noise(2, 2, 4, 4)),
    "magnitudes of a matrix": (Magnitude(Matrix(noise(3, 6))), noise(2, 6)),
    "saturation": (Clip(-1.0, 1.0, 2.0), noise(2, 1, 4, 4)),
    "saturation of a blur": (Clip(-0.3, 0.3) @ Blur(noise(3, 3) / 4), noise(2, 1, 4, 4)),
    "four levels": (Quantise(4, -1.0, 1.0), noise(2, 1, 4, 4)),
    "four levels, straight through": (Quantise(4, -1.0, 1.0, True), noise(2, 1, 4, 4)),
    "jpeg grey": (JPEG(30, 0.0, 1.0), smooth(2, 1, 16, 24)),
    "jpeg colour": (JPEG(75, 0.0, 1.0), smooth(2, 3, 16, 32)),
    "jpeg colour, whole": (JPEG(75, 0.0, 1.0, halved=False), smooth(2, 3, 8, 24)),
    "tomograph": (Transmission(Radon((4, 4), ParallelBeam(noise(3), 5)), 1e4), smooth(2, 1, 4, 4)),
    "of pooled levels": (Quantise(9, -1.0, 1.0) @ AveragePool(2), noise(2, 1, 4, 4) / 2),
    "units": (Affine(torch.tensor([2.0, -1.0, 0.5]).double(), torch.tensor([1.0, 0.0, 3.0]).double()), noise(2, 3)),
    "of the user": (NonLinear(torch.tanh, torch.atanh), noise(2, 4)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Operator, Tensor]:
    return CASES[request.param]


@pytest.mark.parametrize("near", [False, True])
def test_measuring_again_what_the_pseudo_inverse_gives_changes_nothing(case, near):
    operator, x = case
    y = operator(x)
    other = x + 0.1 * x.flip(-1)
    back = operator.pseudo_inverse(y, other if near else None)
    assert torch.allclose(operator(back), y, rtol=0, atol=1e-6 * (1 + float(y.abs().max())))


def test_the_nearest_item_is_no_further_than_the_plain_one(case):
    operator, x = case
    y = operator(x)
    nearest = operator.pseudo_inverse(y, x)
    assert float((nearest - x).abs().max()) <= float((operator.pseudo_inverse(y) - x).abs().max()) + 1e-6


def test_derivatives_are_those_of_differences(case):
    operator, x = case
    if isinstance(operator, JPEG) or "Quantise" in repr(operator):
        pytest.skip("flat almost everywhere")
    u, step = noise(*x.shape, seed=3, dtype=x.dtype), 1e-6
    slope = (operator(x + step * u) - operator(x - step * u)) / (2 * step)
    assert torch.allclose(operator.jvp(x, u), slope, rtol=1e-4, atol=1e-5 * (1 + float(slope.abs().max())))
    v = noise(*slope.shape, seed=4, dtype=slope.dtype)
    left, right = (slope * v).sum(), (operator.vjp(x, v).conj() * u).real.sum()
    assert torch.allclose(left, right, rtol=1e-5, atol=1e-5)


def test_rounding_is_flat_unless_its_derivative_is_carried_through():
    x, v = smooth(1, 1, 8, 8), noise(1, 1, 8, 8)
    for flat, through in (
        (Quantise(4, 0.0, 1.0), Quantise(4, 0.0, 1.0, True)),
        (JPEG(50, 0.0, 1.0), JPEG(50, 0.0, 1.0, straight_through=True)),
    ):
        assert torch.equal(flat(x), through(x))
        assert not bool(flat.vjp(x, v).any())
        assert torch.allclose(through.vjp(x, v), v, rtol=0, atol=1e-12)
    assert not bool(Quantise(4, 0.0, 1.0, True).vjp(x + 5, v).any())  # beyond the range even so


@pytest.mark.parametrize("quality", [20, 50, 90])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(quality, channels):
    picture = (smooth(1, channels, 32, 48) * 255).round()
    array = picture[0].movedim(0, -1).numpy().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if channels == 1 else array).save(file, "JPEG", quality=quality, subsampling=0)
    coded = Image.open(file)
    for i, table in enumerate((LUMINANCE, CHROMINANCE)[: len(coded.quantization)]):
        assert list(coded.quantization[i]) == quantisation(table, quality).flatten().tolist()
    expected = torch.from_numpy(np.asarray(coded).copy()).double().reshape(32, 48, channels).movedim(-1, 0)
    found = JPEG(quality, 0.0, 255.0, halved=False)(picture)[0]
    # Pillow rounds luminance, colours and pixels to integers; a coefficient may turn by that, and be a step away.
    loss = float((expected - picture[0]).square().mean().sqrt())
    assert float((found - expected).square().mean().sqrt()) < (0.3 if channels == 1 else 0.4) * loss
    assert float((found - picture[0]).square().mean().sqrt()) == pytest.approx(loss, rel=0.1, abs=0.25)


def test_jpeg_knows_its_range():
    x = smooth(1, 3, 16, 16)
    assert torch.allclose(JPEG(40, -1.0, 1.0)(2 * x - 1), 2 * JPEG(40, 0.0, 1.0)(x) - 1, rtol=0, atol=1e-12)


def test_a_phase_follows_the_item_that_is_near():
    operator = Magnitude(Fourier())
    x = noise(1, 1, 4, 4, dtype=torch.complex128)
    turned = x * torch.polar(torch.tensor(1.0).double(), torch.tensor(0.7).double())
    assert torch.allclose(operator(turned), operator(x))
    assert torch.allclose(operator.pseudo_inverse(operator(x), turned), turned, rtol=0, atol=1e-12)


def test_a_dark_ray_stays_finite():
    tomograph = Transmission(Radon((4, 4), ParallelBeam(noise(3), 5)), 100.0)
    assert bool(torch.isfinite(tomograph.pseudo_inverse(torch.zeros(1, 1, 3, 5).double())).all())


@dataclass(frozen=True)
class Bytes:
    """Pixels 0 … 255 for [-1, 1]."""

    scale: float = 127.5
    offset: float = 127.5


def test_units_are_those_that_are_said():
    x = smooth(2, 1, 4, 4) * 2 - 1
    clipped = Clip(0.0, 200.0).in_units(Bytes())
    assert torch.allclose(clipped(x), (127.5 * x + 127.5).clamp(0, 200))
    assert torch.allclose(clipped.pseudo_inverse(clipped(x)), ((127.5 * x + 127.5).clamp(max=200) - 127.5) / 127.5)
    pooled = AveragePool(2).in_units(Bytes())
    assert torch.allclose(pooled(x), AveragePool(2)(127.5 * x + 127.5))
    v = noise(2, 1, 2, 2)
    assert torch.allclose(pooled.vjp(x, v), 127.5 * AveragePool(2).adjoint(v))
    assert torch.allclose(pooled.jvp(x, x), 127.5 * AveragePool(2)(x))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Clip(1.0, 0.0), "low < high"),
        (lambda: Quantise(1, 0.0, 1.0), "two levels"),
        (lambda: JPEG(0, 0.0, 1.0), "quality from 1 to 100"),
        (lambda: JPEG(50, 0.0, 1.0)(torch.zeros(1, 3, 8, 8)), "multiples of 16"),
        (lambda: JPEG(50, 0.0, 1.0, halved=False)(torch.zeros(1, 2, 8, 8)), r"\(1 or 3, H, W\)"),
        (lambda: Transmission(AveragePool(2), 0.0), "intensity"),
        (lambda: NonLinear(torch.tanh).pseudo_inverse(torch.zeros(1, 2)), "without a pseudo-inverse"),
        (lambda: Affine(torch.zeros(()), torch.zeros(())), "scale other than 0"),
        (lambda: Affine.of(Bytes((1.0, 2.0), (0.0, 0.0)))(torch.zeros(1, 3)), "does not fit items"),
        (lambda: Magnitude(Fourier())(torch.zeros(1, 1, 4, 4)), "RealAsComplex"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_compositions_know_what_they_take():
    phase = Magnitude(Fourier() @ RealAsComplex())
    assert phase.x_complex is False and phase.x_shape is None and phase.items is None
    each = Magnitude(Mask(torch.ones(3, 1, 2, 2)))
    assert each.items == 3 and each.select(torch.tensor([0])).items == 1
    assert Quantise(3, 0.0, 1.0).to("cpu").levels == 3
    with pytest.raises(UserError, match="for 3 and for 2 items"):
        Mask(torch.ones(3, 1, 2, 2)) @ Mask(torch.ones(2, 1, 2, 2))
