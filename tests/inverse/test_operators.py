"""Operators: adjoint, dense matrix, regularised inverse; conjugate gradients against closed forms."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.inverse import (
    Blur,
    ColourMix,
    Diagonal,
    Each,
    Identity,
    LinearOperator,
    Mask,
    Matrix,
    Observation,
    RealAsComplex,
    ZeroBlur,
    gaussian_kernel,
)
from pushforward.inverse.solve import conjugate_gradients
from pushforward.numerics.random import Draws

SHAPE = (2, 6, 5)
F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    return Draws.of(seed, range(shape[0]), "operators").normal(shape[1:], F64)


def mask() -> Mask:
    return Mask(noise(1, 6, 5, seed=3)[0] > 0)


@dataclass(frozen=True)
class Averages(LinearOperator):
    """Means of pairs along the last axis: an operator of the user's own, without a closed form."""

    def __call__(self, x: Tensor) -> Tensor:
        return (x[..., 0::2] + x[..., 1::2]) / 2

    def adjoint(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(2, -1) / 2


@dataclass(frozen=True, eq=False)
class OpenBox(LinearOperator):
    """Another operator with its closed form hidden, so that `gain` falls back to conjugate gradients."""

    inner: LinearOperator

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(y)


OPERATORS = [
    mask(),
    Mask(noise(4, *SHAPE, seed=4) > 0),
    Blur(noise(1, 3, 3, seed=1)[0]),
    Blur(noise(1, 4, 2, seed=2)[0]),
    Blur(noise(1, 9, 8, seed=5)[0]),
    Blur(gaussian_kernel(5, 1.0, F64)),
]


def dense(operator: LinearOperator, shape: tuple[int, ...]) -> Tensor:
    basis = torch.eye(int(torch.tensor(shape).prod()), dtype=F64).reshape(-1, *shape)
    return operator(basis).flatten(1).T


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_adjoint_is_the_adjoint(operator):
    x, y = noise(4, *SHAPE, seed=6), noise(4, *SHAPE, seed=7)
    assert torch.allclose((operator(x) * y).sum(), (x * operator.adjoint(y)).sum(), rtol=0, atol=1e-10)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000))
def test_the_adjoint_of_any_blur(height, width, seed):
    blur = Blur(noise(1, height, width, seed=seed)[0])
    x, y = noise(2, 1, 5, 4, seed=seed + 1), noise(2, 1, 5, 4, seed=seed + 2)
    assert abs(float((blur(x) * y).sum() - (x * blur.adjoint(y)).sum())) < 1e-10


def test_a_blur_is_the_periodic_convolution():
    kernel = noise(1, 4, 3, seed=1)[0]
    x = noise(1, 1, 6, 5)
    expected = torch.zeros_like(x)
    for i in range(4):
        for j in range(3):
            expected += kernel[i, j] * torch.roll(x, (i - 2, j - 1), (-2, -1))
    assert torch.allclose(Blur(kernel)(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("operator", [o for o in OPERATORS if not (isinstance(o, Mask) and o.mask.ndim == 4)])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_gain_is_that_of_the_dense_matrix(operator, hidden):
    shape = SHAPE
    matrix = dense(operator, shape)
    residual = noise(4, *shape, seed=9)
    prior, sigma2 = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=F64), 0.2
    found = (OpenBox(operator) if hidden else operator).gain(residual, prior, sigma2)
    for i in range(4):
        inner = prior[i] * matrix @ matrix.T + sigma2 * torch.eye(len(matrix), dtype=F64)
        expected = matrix.T @ torch.linalg.solve(inner, residual[i].flatten())
        assert torch.allclose(found[i].flatten(), expected, rtol=0, atol=1e-6 if hidden else 1e-11)
    assert torch.allclose(found[1:2], operator.gain(residual[1:2], 0.5, sigma2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("operator", [mask(), Blur(torch.full((2, 2), 0.25, dtype=F64))])
def test_without_noise_the_gain_is_the_pseudo_inverse(operator):
    shape = (1, 6, 6) if isinstance(operator, Blur) else SHAPE  # even sides: the box removes frequencies
    matrix = dense(operator, shape)
    x = noise(3, *shape, seed=9)
    found = operator.gain(operator(x), 0.5, 0.0).flatten(1)
    expected = operator(x).flatten(1) @ torch.linalg.pinv(matrix).T / 0.5
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)


def test_an_operator_of_the_users_own_needs_no_closed_form():
    x = noise(3, 1, 4, 6)
    u = Averages().gain(Averages()(x), 0.7, 0.1)
    assert torch.allclose(u, Averages().adjoint(Averages()(x)) / (0.7 * 0.5 + 0.1), rtol=0, atol=1e-10)


def test_each_system_of_a_batch_stops_by_itself():
    scales = torch.tensor([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0], [1e-3, 1.0, 1e3]], dtype=F64)
    b = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=F64)
    u = conjugate_gradients(lambda v: scales * v, b)
    assert torch.allclose(scales * u, b, atol=1e-7)
    assert torch.equal(u[1], torch.zeros(3, dtype=F64))


def test_a_system_without_a_solution_is_a_numerical_error():
    with pytest.raises(NumericalError, match="sigma > 0"):
        conjugate_gradients(lambda v: torch.zeros_like(v), torch.ones(2, 3))


def test_measuring_adds_noise_of_the_stated_size_where_something_is_measured(draws):
    x = noise(500, *SHAPE)
    found = Observation.measure(mask(), x, 0.3, draws(500))
    error = found.y - mask()(x)
    kept = mask().mask.expand(500, *SHAPE)
    assert torch.equal(error[~kept], torch.zeros_like(error[~kept]))
    assert float(error[kept].std()) == pytest.approx(0.3, rel=0.02)
    again = Observation.measure(mask(), x[7:9], 0.3, Draws.of(0, range(7, 9), "test"))
    assert torch.equal(again.y, found.y[7:9])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Mask(torch.tensor([0.0, 0.5])), "1 where a value is measured"),
        (lambda: mask()(torch.zeros(2, 1, 4, 4)), r"mask of shape \(6, 5\) does not fit items of shape \(1, 4, 4\)"),
        (lambda: mask()(torch.zeros(2, 5)), "does not fit"),
        (lambda: Mask(torch.ones(3, 1, 6, 5))(torch.zeros(2, 1, 6, 5)), "does not fit"),
        (lambda: Blur(torch.ones(3)), r"kernel of floats \(h, w\)"),
        (lambda: Blur(torch.ones(3, 3))(torch.zeros(2, 5)), r"acts on images .* items of shape \(5,\)"),
        (lambda: gaussian_kernel(3, 0.0), "width above 0"),
        (lambda: Observation(mask(), torch.zeros(1, 6, 5), -1.0), "sigma = -1"),
        (lambda: Observation(mask(), torch.zeros(3, 6, 5), 0.1).residual(torch.zeros(2, 6, 5)), "one per sample"),
        (lambda: Observation(mask(), torch.zeros(2, 4, 5), 0.1), r"mask of shape \(6, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        wrong()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("each", [False, True])
def test_a_blur_of_images_without_channels_keeps_items_apart(each):
    blur = Blur(noise(3, 3, 2, seed=1) if each else noise(1, 3, 2, seed=1)[0], each)
    residual, sigma2 = noise(3, 5, 4, seed=2), torch.tensor([0.1, 0.5, 2.0], dtype=F64)
    found = blur.gain(residual, 1.0, sigma2)
    for i in range(3):
        alone = blur.select(torch.tensor([i])) if each else blur
        matrix = torch.stack([alone(e[None])[0].flatten() for e in torch.eye(20, dtype=F64).reshape(20, 5, 4)], 1)
        inner = matrix @ matrix.T + sigma2[i] * torch.eye(20, dtype=F64)
        expected = matrix.T @ torch.linalg.solve(inner, residual[i].flatten())
        assert torch.allclose(found[i].flatten(), expected, rtol=0, atol=1e-11)
    assert blur.check((5, 4)) < 1e-12


@pytest.mark.parametrize("kind", [Blur, ZeroBlur])
def test_kernels_per_channel_are_for_as_many_channels(kind):
    """They would broadcast: one grey picture would become three."""
    for shape in ((1, 6, 5), (2, 6, 5), (6, 5)):
        with pytest.raises(UserError, match="3 kernels, one per channel"):
            kind(noise(3, 2, 2))(noise(4, *shape))
    with pytest.raises(UserError, match="for 3 items, and 4 were given"):
        kind(noise(3, 2, 2), True)(noise(4, 1, 6, 5))


@pytest.mark.parametrize(
    ("one", "many"),
    [
        (Matrix(noise(1, 3, 4)), Matrix(noise(2, 3, 4))),
        (ColourMix(noise(1, 2, 4)), ColourMix(noise(2, 2, 4))),
        (3.0 * Mask(noise(1, 1, 2, 2) > 0), [1.0, 2.0] * Identity()),
        (Each((Identity(),)), Each((Identity(), Identity()))),
    ],
)
def test_parameters_of_one_item_are_those_of_all_and_of_too_few_of_none(one, many):
    index = torch.tensor([0, 2, 1])
    shape = (4, 1, 2) if isinstance(one, ColourMix) else (4,) if isinstance(one, Matrix) else (1, 2, 2)
    x = noise(3, *shape)
    expected = torch.cat([one(x[i : i + 1]) for i in range(3)])
    assert torch.equal(one.select(index)(x), expected)
    with pytest.raises(UserError, match=r"2 operators(' parameters)? and at least 3 items"):
        many.select(index)


SCALES = torch.tensor([0.5, 2.0, 3.0, 10.0], dtype=F64)


@pytest.mark.parametrize(
    "operator",
    [
        Mask(torch.tensor([True, False, True, True])) @ Diagonal(SCALES),
        Matrix(noise(3, 4)) @ Diagonal(SCALES),
        Matrix(noise(3, 4)) @ Mask(torch.tensor([True, False, True, True])),
        Mask(torch.tensor([True, False, True])) @ Matrix(noise(3, 4)),
        Matrix(torch.complex(noise(3, 4), noise(3, 4, seed=1))) @ Diagonal(torch.complex(SCALES, -SCALES)),
    ],
)
def test_units_and_dense_matrices_keep_a_singular_system(operator):
    """So that DDRM restores tables, whose columns have a scale each."""
    system = operator.svd((4,))
    assert system is not None and operator.check((4,)) < 1e-12
    expected = torch.linalg.svdvals(Matrix.of(operator, (4,)).matrix)
    found = system.s.flatten().sort(descending=True).values
    assert torch.allclose(found[: len(expected)], expected[: len(found)], rtol=0, atol=1e-12)
    assert (Matrix(noise(3, 4).to(torch.complex128)) @ RealAsComplex()).svd((4,)) is None


def test_norms_of_operators_that_differ_are_found_once_for_each_item(monkeypatch):
    weights = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    asked = []

    @dataclass(frozen=True, eq=False)
    class Weighted(LinearOperator):
        """Running sums times a number of each item: no singular system is known."""

        weight: torch.Tensor

        @property
        def x_shape(self):
            return (4,)

        @property
        def items(self):
            return len(self.weight)

        @property
        def per_item(self):
            return ("weight",)

        def __call__(self, x):
            asked.append(len(x))
            return self.weight[:, None] * x.cumsum(1)

        def adjoint(self, y):
            return self.weight[:, None] * y.flip(1).cumsum(1).flip(1)

    operator = Weighted(weights)
    expected = weights * torch.linalg.matrix_norm(torch.ones(4, 4, dtype=torch.float64).tril(), 2)
    assert torch.allclose(operator.norms(), expected, rtol=1e-8)
    assert operator.norm() == pytest.approx(float(expected.max()), rel=1e-8)
    asked.clear()
    chosen = operator.select(torch.tensor([2, 2, 0])).select(torch.tensor([1, 2]))
    assert chosen.norms().tolist() == operator.norms()[[2, 0]].tolist() and not asked
    monkeypatch.setattr("pushforward.inverse.operators.operator._VALUES", 8)
    assert torch.allclose(Weighted(weights).norms(), expected, rtol=1e-8) and max(asked) == 2
