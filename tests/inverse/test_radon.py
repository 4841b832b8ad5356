"""Tomography against lengths of chords, and its baselines against a phantom."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse import (
    FanBeam,
    ParallelBeam,
    Radon,
    cgls,
    fan,
    filtered_back_projection,
    hann,
    parallel,
)
from pushforward.inverse.operators.geometry import spread

F64 = torch.float64


def ellipses(size: int, parts: list[tuple[float, float, float, float, float]], finer: int = 8) -> Tensor:
    """Pixels averaged over `finer`² points: value, centre x, y (up), half axes, in pixels. (1, 1, size, size)."""
    at = (torch.arange(size * finer, dtype=F64) + 0.5) / finer - size / 2
    x, y = at, -at[:, None]
    total = torch.zeros(size * finer, size * finer, dtype=F64)
    for value, cx, cy, a, b in parts:
        total += value * (((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1)
    return torch.nn.functional.avg_pool2d(total[None, None], finer)


def phantom(size: int) -> Tensor:
    s = size / 64
    return ellipses(
        size,
        [
            (1.0, 0, 0, 22 * s, 28 * s),
            (-0.6, 0, 0, 20 * s, 25 * s),
            (0.4, 6 * s, 6 * s, 5 * s, 8 * s),
            (-0.2, -8 * s, -4 * s, 4 * s, 6 * s),
            (0.3, 0, -14 * s, 5 * s, 3 * s),
        ],
    )


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("make", [parallel, fan])
def test_a_disc_casts_its_chords(make):
    size, radius, centre = 64, 20.0, torch.tensor([5.0, -7.0], dtype=F64)
    radon = make(size, 30)
    points, directions = radon.geometry.rays()
    offset = points - centre
    distance = (offset[..., 0] * directions[..., 1] - offset[..., 1] * directions[..., 0]).abs()
    within = ((torch.arange(33, dtype=F64) + 0.5) / 33 - 0.5) * radon.geometry.step
    chords = 2 * (radius**2 - distance**2).clamp(min=0).sqrt()
    of_cells = (2 * (radius**2 - (distance[..., None] + within) ** 2).clamp(min=0).sqrt()).mean(-1)
    found = radon(ellipses(size, [(1.0, 5.0, -7.0, radius, radius)]))[0, 0]
    assert float((found - chords).abs().sum() / chords.sum()) < 0.007
    through = distance < 0.9 * radius
    assert relative(found[through], chords[through]) < 0.004
    # Beside the rim a pixel's mean is no length along one ray; along a cell's width it nearly is.
    assert relative(found, of_cells) < 0.008
    # A mirrored or turned geometry would not pass: the disc is off the middle.
    assert relative(radon(ellipses(size, [(1.0, 5.0, 7.0, radius, radius)]))[0, 0], chords) > 0.2


def test_a_view_along_rows_and_one_along_columns_are_sums():
    x = torch.arange(12, dtype=F64).reshape(1, 1, 3, 4)
    down = Radon((3, 4), ParallelBeam(torch.zeros(1), 4))(x)
    across = Radon((3, 4), ParallelBeam(torch.tensor([math.pi / 2]), 3))(x)
    assert torch.allclose(down[0, 0, 0], x[0, 0].sum(0))
    assert torch.allclose(across[0, 0, 0], x[0, 0].sum(1).flip(0))


@pytest.mark.parametrize("make", [parallel, fan])
def test_what_leaves_the_detector_is_all_of_the_image(make):
    """Line integrals of a parallel view sum to the image's mass; those of a fan see all of it as well."""
    radon = make(16, 8)
    seen = radon.adjoint(torch.ones(1, *radon.image, dtype=F64))
    assert bool((seen > 0).all())
    if make is parallel:
        x = phantom(16)
        assert torch.allclose(radon(x).sum((0, 1, 3)), x.sum().expand(8), rtol=0.02)


@pytest.mark.parametrize(("make", "bound"), [(parallel, 0.16), (fan, 0.16)])
def test_filtered_back_projection_rebuilds_a_phantom(make, bound):
    x = phantom(64)
    radon = make(64, 180)
    found = filtered_back_projection(radon, radon(x))
    assert relative(found, x) < bound
    middle = (slice(None), slice(None), slice(20, 44), slice(24, 40))
    assert abs(float(found[middle].mean() / x[middle].mean()) - 1) < 0.01  # the scale is right, not only the shape
    smooth = filtered_back_projection(radon, radon(x), hann)
    assert relative(found, x) < relative(smooth, x) < 0.3
    few = make(64, 12)
    assert relative(filtered_back_projection(few, few(x)), x) > 1.5 * relative(found, x)


def test_cgls_beats_filtered_back_projection_from_few_noisy_views():
    x, radon = phantom(64), parallel(64, 30)
    clean = radon(x)
    noise = torch.from_numpy(np.sin(np.arange(clean.numel()) ** 1.7)).reshape(clean.shape)
    y = clean + 0.5 * noise
    errors = [relative(cgls(radon, radon.adjoint, y, count), x) for count in (2, 8, 100)]
    assert errors[1] < 0.9 * relative(filtered_back_projection(radon, y), x)
    assert errors[1] < 0.8 * min(errors[0], errors[2])  # too few smooth, too many fit the noise


def test_channels_and_items_are_projected_alike():
    radon = Radon((8, 8), ParallelBeam.over(8, 5), channels=2)
    x = torch.arange(3 * 2 * 64, dtype=F64).reshape(3, 2, 8, 8).sin()
    one = Radon((8, 8), ParallelBeam.over(8, 5))
    assert torch.allclose(radon(x)[1, 1], one(x[1:2, 1:2])[0, 0])
    assert torch.allclose(
        filtered_back_projection(radon, radon(x))[2, :1], filtered_back_projection(one, one(x[2:, :1]))[0]
    )


def test_second_derivatives_pass_through():
    radon = parallel(6, 4)
    x = torch.ones(1, 1, 6, 6, dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(radon(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    ones = torch.ones_like(second)
    assert torch.allclose(second, 2 * radon.adjoint(radon(ones)), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: parallel(8, 4)(torch.zeros(1, 1, 8, 9)), r"real items of shape \(1, 8, 8\); got real ones of shape"),
        (lambda: parallel(8, 4)(torch.zeros(1, 1, 8, 8, dtype=torch.complex64)), "got complex ones"),
        (lambda: parallel(8, 4).adjoint(torch.zeros(1, 1, 4, 4)), r"measures real items of shape \(1, 4, 12\)"),
        (lambda: Radon((8, 8), FanBeam(spread(4), 5, 5.0, 5.0)), "must be more than 5.7 away"),
        (lambda: FanBeam(spread(4), 5, -5.0, 5.0), "source of a fan beam lies before"),
        (lambda: ParallelBeam(spread(4), 5, 0.0), "spacing above 0"),
        (lambda: ParallelBeam(torch.zeros(2, 2), 5), "finite numbers"),
        (lambda: spread(0), "at least one view"),
        (lambda: Radon((0, 8), ParallelBeam(spread(4), 5)), "at least one pixel"),
        (
            lambda: filtered_back_projection(parallel(8, 4), torch.zeros(1, 1, 4, 4)),
            r"line integrals of shape \(1, 4, 12",
        ),
        (lambda: cgls(parallel(8, 4), parallel(8, 4).adjoint, torch.zeros(1, 1, 4, 12), 0), "at least one iteration"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        wrong()
    assert "\n" not in str(caught.value)
