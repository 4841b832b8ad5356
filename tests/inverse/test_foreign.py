"""Operators of the user's own are taken as they come, and proved before they are believed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse import (
    AveragePool,
    Blur,
    ChannelsAsComplex,
    Coils,
    ColourMix,
    Diagonal,
    Each,
    Fourier,
    Function,
    Hadamard,
    LinearOperator,
    Mask,
    Matrix,
    RealAsComplex,
    Separable,
    SingularSystem,
    Stack,
    ZeroBlur,
    as_operator,
    bicubic,
    compressed_sensing,
    grey,
    separable_blur,
    stack,
)
from pushforward.inverse.operators.elementwise import Identity
from pushforward.numerics.random import Draws

F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    return Draws.of(seed, [0], "foreign").normal(shape, F64)[0]


MATRIX = noise(4, 6)


class Physics:
    """As DeepInverse has them: `A` and `A_adjoint` on batches."""

    def __init__(self, error: float = 0.0) -> None:
        self.error = error

    def A(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ MATRIX.to(x.dtype).T

    def A_adjoint(self, y: Tensor) -> Tensor:
        return (y @ MATRIX.to(y.dtype) * (1 + self.error)).reshape(len(y), 1, 2, 3)


@dataclass
class OfPyLops:
    """`matvec` and `rmatvec` with the shapes `dims` and `dimsd`, as PyLops has them."""

    shape = (4, 6)
    dims = (2, 3)
    dimsd = (2, 2)

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return MATRIX.numpy() @ x

    def rmatvec(self, y: np.ndarray) -> np.ndarray:
        return MATRIX.numpy().T @ y


def a_callable(x: Tensor) -> Tensor:
    return x.flatten(1) @ MATRIX.to(x.dtype).T


@pytest.mark.parametrize(
    ("given", "shape", "image"),
    [
        (Physics(), (1, 2, 3), (4,)),
        (a_callable, (1, 2, 3), (4,)),
        (aslinearoperator(MATRIX.numpy()), (1, 2, 3), (4,)),
        (aslinearoperator(MATRIX.numpy()), None, (4,)),
        (OfPyLops(), None, (2, 2)),
        (Matrix(MATRIX), (6,), (4,)),
    ],
)
def test_all_kinds_measure_alike(given, shape, image):
    operator = as_operator(given, shape)
    x = noise(3, *operator.x_shape)
    y = operator(x)
    assert y.shape[1:] == image
    assert torch.allclose(y.flatten(1), x.flatten(1) @ MATRIX.T, rtol=0, atol=1e-12)
    assert torch.allclose(operator.adjoint(y).flatten(1), y.flatten(1) @ MATRIX, rtol=0, atol=1e-12)
    assert operator(x.float()).dtype == torch.float32
    found = operator.pseudo_inverse(y).flatten(1)
    assert torch.allclose(found, y.flatten(1) @ torch.linalg.pinv(MATRIX).T, rtol=0, atol=1e-9)


def test_complex_vectors():
    matrix = torch.complex(noise(4, 6), noise(4, 6, seed=1))
    operator = as_operator(aslinearoperator(matrix.numpy()), complex_items=True)
    x = torch.complex(noise(2, 6), noise(2, 6, seed=2))
    assert torch.allclose(operator(x), x @ matrix.T)
    assert operator(x.to(torch.complex64)).dtype == torch.complex64


@pytest.mark.parametrize("error", [1e-4, 0.5])
def test_an_adjoint_that_is_not_one_is_refused_with_its_relative_error(error):
    with pytest.raises(UserError, match="the adjoint of Function is not its adjoint") as caught:
        as_operator(Physics(error), (1, 2, 3))
    named = float(re.search(r"relative error of ([\d.e+-]+)", str(caught.value))[1])
    assert named == pytest.approx(error, rel=0.3)
    assert "\n" not in str(caught.value)
    as_operator(Physics(error), (1, 2, 3), tolerance=None)


class Single(Physics):
    """As networks and physics of others are: in single precision alone."""

    def A(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ MATRIX.float().T

    def A_adjoint(self, y: Tensor) -> Tensor:
        return (y @ MATRIX.float()).reshape(len(y), 1, 2, 3)


@pytest.mark.parametrize("given", [Single(), Single().A])
def test_an_operator_of_one_precision_says_so(given):
    with pytest.raises(RuntimeError):
        as_operator(given, (1, 2, 3))
    operator = as_operator(given, (1, 2, 3), dtype=torch.float32, tolerance=1e-4)
    x = noise(2, 1, 2, 3)
    assert operator(x).dtype == F64 and operator(x.float()).dtype == torch.float32
    assert torch.allclose(operator(x), x.flatten(1) @ MATRIX.T, atol=1e-5)


def test_gradients_flow_through_vectors():
    operator = as_operator(OfPyLops())
    x = noise(2, 2, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(operator(x).square().sum(), x)
    assert torch.allclose(gradient, 2 * operator.adjoint(operator(x.detach())))


@dataclass(frozen=True)
class WrongSystem(LinearOperator):
    """Twice x, with the singular values of x."""

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * x

    def adjoint(self, y: Tensor) -> Tensor:
        return 2 * y

    def _svd(self, shape: tuple[int, ...]) -> SingularSystem:
        return SingularSystem(Identity(), torch.ones(1, *shape, dtype=F64), Identity())


@dataclass(frozen=True)
class NoIsometry(WrongSystem):
    """A right product of wrong factors."""

    def _svd(self, shape: tuple[int, ...]) -> SingularSystem:
        return SingularSystem(2.0 * Identity(), torch.ones(1, *shape, dtype=F64), Identity())


@dataclass(frozen=True)
class WrongShape(WrongSystem):
    """An adjoint of another shape."""

    def adjoint(self, y: Tensor) -> Tensor:
        return y[..., :-1]


def short(x: Tensor) -> Tensor:
    return x - x.mean(0)


mask = Mask(torch.ones(4, 5))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: as_operator(lambda x: x**2, (3,)), r"Function is not linear: .* differ by"),
        (lambda: as_operator(lambda x: x + 1, (3,)), "is not linear"),
        (lambda: as_operator(short, (3,)), "is not linear"),
        (lambda: as_operator(a_callable), "say of what shape"),
        (lambda: as_operator(3, (1,)), "A and A_adjoint, or matvec and rmatvec; got int"),
        (lambda: as_operator(aslinearoperator(MATRIX.numpy()), (5,)), r"6 numbers does not take items of shape \(5,\)"),
        (lambda: as_operator(Matrix(MATRIX), (5,)), r"takes items of shape \(6,\), and \(5,\) was given"),
        (lambda: WrongSystem().check((3,)), r"singular system of WrongSystem .* relative error of 5.0e-01"),
        (lambda: NoIsometry().check((3,)), "singular system of NoIsometry"),
        (lambda: WrongShape().check((3,)), r"adjoint of WrongShape gives items of shape \(2,\)"),
        (lambda: mask.norm(), r"Mask takes items of any shape: say which is meant"),
        (lambda: Function(torch.fft.fft, (3,))(torch.zeros(1, 4)), r"items of shape \(3,\), and \(4,\)"),
        (lambda: Function(torch.fft.fft, (3,))(torch.zeros(1, 3, dtype=torch.complex64)), "complex_items=True"),
        (lambda: Matrix(MATRIX, (2, 2)), r"shape \(4, 6\) does not map items of shape \(2, 2\)"),
        (lambda: Matrix(torch.full((2, 2), torch.nan)), "finite"),
        (lambda: Matrix(torch.ones(2, 2, dtype=torch.int64)), "of floats"),
        (lambda: Matrix(MATRIX)(torch.zeros(1, 5)), r"takes items of shape \(6,\), and \(5,\)"),
        (lambda: Matrix(torch.complex(MATRIX, MATRIX))(torch.zeros(1, 6)), "put RealAsComplex first"),
        (lambda: Matrix.of(Mask(torch.ones(2, 1, 1, 1)), (1, 1, 1)), "has no one matrix"),
        (lambda: Matrix.of(RealAsComplex(), (3,)), "has no one matrix"),
        (lambda: Separable(torch.ones(2, 2), torch.ones(1, 2, 2)), "as many of each"),
        (lambda: bicubic((4, 4), 2)(torch.zeros(1, 1, 4, 5)), r"takes images of 4×4, and items of shape \(1, 4, 5\)"),
        (lambda: bicubic((5, 4), 2), "its multiples; got 5"),
        (lambda: separable_blur(torch.ones(2, 2), torch.ones(2), (3, 3)), r"a kernel \(k,\) and a size"),
        (lambda: AveragePool(0), "at least 1; got 0"),
        (lambda: AveragePool(2)(torch.zeros(1, 1, 5, 4)), "sides are multiples of 2"),
        (lambda: ColourMix(torch.ones(3)), "matrix of finite floats"),
        (lambda: grey(0), "at least one channel"),
        (lambda: grey()(torch.zeros(1, 1, 2, 2)), r"takes items \(3, H, W\), and \(1, 2, 2\)"),
        (lambda: compressed_sensing((1, 3, 3), 2, 0), "power of two .* has 9"),
        (lambda: compressed_sensing((4,), 5, 0), "from 1 to 4 can be measured; got 5"),
        (lambda: Hadamard(torch.zeros(4, dtype=torch.int64), torch.arange(2), (4,)), "permutation of 0 … 3"),
        (lambda: Hadamard(torch.arange(4), torch.tensor([1, 1]), (4,)), "distinct numbers"),
        (lambda: compressed_sensing((4,), 2, 0)(torch.zeros(1, 5)), r"items of shape \(4,\), and \(5,\)"),
        (lambda: compressed_sensing((4,), 2, 0).adjoint(torch.zeros(1, 5)), r"measures 2 numbers, and \(5,\)"),
        (lambda: Fourier()(torch.zeros(1, 1, 4, 4)), "real ones were given: compose it with RealAsComplex"),
        (lambda: Fourier().adjoint(torch.zeros(1, 1, 4, 4)), "acts on complex images"),
        (lambda: RealAsComplex()(torch.zeros(1, 3, dtype=torch.complex64)), "acts on real items"),
        (lambda: ChannelsAsComplex()(torch.zeros(1, 3, 2, 2)), "even number of real ones"),
        (lambda: Coils(torch.ones(2, 4, 4)), "coil maps are complex"),
        (lambda: Coils(torch.full((2, 4, 4), torch.nan + 0j)), "must be finite"),
        (lambda: Coils(torch.ones(2, 4, 4) + 0j)(torch.zeros(1, 1, 4, 5) + 0j), r"items of shape \(1, 4, 4\)"),
        (lambda: Coils(torch.ones(2, 4, 4) + 0j).adjoint(torch.zeros(1, 1, 4, 4) + 0j), "2 coils measure"),
        (lambda: Diagonal(torch.tensor([torch.inf])), "finite numbers"),
        (lambda: Diagonal(torch.ones(3) + 0j)(torch.zeros(1, 3)), "complex weights act on complex items"),
        (lambda: ZeroBlur(torch.ones(2, 2))(torch.zeros(1, 4)), "acts on images"),
        (lambda: Blur(torch.full((2, 2), torch.nan)), "finite kernel"),
        (lambda: mask * torch.nan, "by a real number"),
        (lambda: stack(), "a stack needs operators"),
        (lambda: stack(mask), "the shape of the items"),
        (
            lambda: stack(mask, mask, shape=(4, 5)).split(torch.zeros(1, 7)),
            r"\[20, 20\] measured numbers was given",
        ),
        (lambda: Stack((mask, RealAsComplex()), (4, 5)), "all of them with real measurements, or complex"),
        (
            lambda: stack(Mask(torch.ones(2, 1, 2, 2)), Mask(torch.ones(3, 1, 2, 2)), shape=(1, 2, 2)),
            "different numbers of items",
        ),
        (lambda: Each(()), "at least one"),
        (lambda: Each((mask, mask))(torch.zeros(3, 4, 5)), "2 operators were given for 3 items"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_the_adjoint_of_a_complex_map_of_real_items_is_real():
    """Re⟨A x, y⟩ = ⟨x, Re(A^H y)⟩: a complex correction would make the state complex."""
    matrix = MATRIX.numpy() + 1j * noise(4, 6, seed=1).numpy()
    found = as_operator(aslinearoperator(matrix), (6,))
    y = torch.complex(noise(2, 4, seed=2), noise(2, 4, seed=3))
    expected = (y.numpy() @ matrix.conj()).real
    assert torch.allclose(found.adjoint(y), torch.from_numpy(expected), rtol=0, atol=1e-12)
    conjugate = found.adjoint(y.conj())  # a view, which NumPy does not take as it is
    assert torch.allclose(conjugate, torch.from_numpy((y.numpy().conj() @ matrix.conj()).real), rtol=0, atol=1e-12)
