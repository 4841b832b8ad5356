"""Jacobians against closed forms."""

import pytest
import torch

from pushforward.errors import UserError
from pushforward.flows import jacobian, log_abs_det, log_volume
from pushforward.numerics.random import normal

X = normal(torch.tensor([1]), (4, 3), torch.float64)[0]
A = normal(torch.tensor([2]), (3, 3), torch.float64)[0]


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_jacobian_of_a_bent_linear_map(chunk):
    value, matrix = jacobian(lambda x: torch.tanh(x @ A.T), X, chunk=chunk)
    slope = 1 - torch.tanh(X @ A.T) ** 2
    assert torch.allclose(value, torch.tanh(X @ A.T))
    assert torch.allclose(matrix, slope[:, :, None] * A)
    log_det = log_abs_det(lambda x: torch.tanh(x @ A.T), X, chunk=chunk)[1]
    assert torch.allclose(log_det, slope.log().sum(1) + torch.linalg.slogdet(A)[1])


def test_determinants_multiply_and_invert():
    def first(x):
        return torch.sinh(x @ A.T)

    def second(x):
        return x**3 + x

    y, one = log_abs_det(first, X)
    _, two = log_abs_det(second, y)
    assert torch.allclose(log_abs_det(lambda x: second(first(x)), X)[1], one + two)
    back = log_abs_det(lambda y: torch.asinh(y) @ torch.linalg.inv(A).T, y)[1]
    assert torch.allclose(back, -one, atol=1e-10)


def test_shapes_of_images_are_flattened():
    x = X.reshape(2, 1, 2, 3)
    _, matrix = jacobian(lambda v: v.flip(3) * 2, x)
    assert matrix.shape == (2, 6, 6)
    assert torch.allclose(
        torch.linalg.slogdet(matrix)[1], torch.full((2,), 6 * torch.tensor(2.0).log().item()).double()
    )


def test_volume_of_a_sphere_patch():
    """(θ, φ) to the unit sphere stretches by sin θ."""
    angles = torch.tensor([[0.3, 1.0], [1.2, -2.0]], dtype=torch.float64)

    def sphere(a):
        theta, phi = a.unbind(1)
        return torch.stack((theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()), 1)

    assert torch.allclose(log_volume(sphere, angles)[1], angles[:, 0].sin().log())


def test_maps_that_have_no_determinant_are_refused():
    with pytest.raises(UserError, match="3 numbers to 2"):
        log_abs_det(lambda x: x[:, :2], X)
    with pytest.raises(UserError, match="loses volume"):
        log_volume(lambda x: x[:, :2], X)
    with pytest.raises(UserError, match="at least one sample"):
        jacobian(lambda x: x, X[:0])
