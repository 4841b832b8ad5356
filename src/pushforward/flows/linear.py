"""Linear bijections of the features (dimension 1): on vectors a matrix, on images (B, C, H, W) a 1×1 convolution."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.flows.bijection import Layer
from pushforward.networks.checks import require_positive
from pushforward.networks.made import check_features


def _places(x: Tensor) -> int:
    """How many pixels the matrix is applied to in each sample."""
    return x[0, 0].numel() if x.ndim > 2 and len(x) else 1


def apply_matrix(matrix: Tensor, x: Tensor) -> Tensor:
    """Σ_j M_ij x_j over dimension 1."""
    if x.ndim == 2:
        return (matrix @ x.T).T
    return (matrix @ x.flatten(2)).view_as(x)


class Permutation(Layer):
    """y_i = x_{order(i)}."""

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        if not order or sorted(order) != list(range(len(order))):
            raise UserError(f"A permutation of n features holds 0 … n − 1 once each; got {list(order)}.")
        self.register_buffer("order", torch.tensor(order))
        self.register_buffer("back", torch.argsort(self.order), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(x.shape[1], len(self.order))
        return _taken(x, self.order), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(y.shape[1], len(self.back))
        return _taken(y, self.back), y.new_zeros(len(y))


def _taken(x: Tensor, order: Tensor) -> Tensor:
    # Rows of the transpose: what follows finds its features in one piece of memory each.
    return x.transpose(0, 1)[order].transpose(0, 1)


class Reverse(Layer):
    """The features in reverse order."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flip(1), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.forward(y)


class _Matrix(Layer):
    """y = W x + b with a matrix whose determinant is cheap."""

    def __init__(self, features: int) -> None:
        super().__init__()
        require_positive(features=features)
        self.features = features
        self.bias = nn.Parameter(torch.zeros(features))

    @abstractmethod
    def matrix(self) -> Tensor:
        """W (features, features)."""

    @abstractmethod
    def log_det(self) -> Tensor:
        """log |det W|, a number."""

    @abstractmethod
    def solved(self, y: Tensor) -> Tensor:
        """W⁻¹ y for columns (features, n)."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(x.shape[1], self.features)
        y = apply_matrix(self.matrix(), x) + self._bias(x)
        return y, (_places(x) * self.log_det()).expand(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(y.shape[1], self.features)
        columns = (y - self._bias(y)).transpose(0, 1)
        x = self.solved(columns.flatten(1)).view(columns.shape).transpose(0, 1)
        return x, (-_places(y) * self.log_det()).expand(len(y))

    def _bias(self, x: Tensor) -> Tensor:
        return self.bias.reshape(-1, *[1] * (x.ndim - 2))


class Dense(_Matrix):
    """Any invertible matrix (features, features), given; its determinant costs d³ each time.

    Raises UserError for a matrix that is not of real numbers, not square, not finite or singular.
    """

    def __init__(self, weight: Tensor) -> None:
        if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
            raise UserError(
                f"A linear bijection needs a square matrix; got one of shape {tuple(weight.shape)}, "
                "which has no inverse."
            )
        if not weight.is_floating_point():
            raise UserError(f"A linear bijection needs a matrix of real numbers; got one of {weight.dtype}.")
        super().__init__(len(weight))
        if not bool(torch.isfinite(torch.linalg.slogdet(weight.double())[1])):
            raise UserError("A linear bijection needs an invertible matrix; the one given has determinant 0 or nan.")
        self.weight = nn.Parameter(weight.clone())
        self.bias.data = self.bias.data.to(weight.dtype)

    def matrix(self) -> Tensor:
        return self.weight

    def log_det(self) -> Tensor:
        return torch.linalg.slogdet(self.weight)[1]

    def solved(self, y: Tensor) -> Tensor:
        return torch.linalg.solve(self.weight, y)


class LU(_Matrix):
    """W = P L U with a fixed permutation P, unit-lower L and U with diagonal e^s: log |det W| = Σ s.

    The identity (times P) at the start, positive on the diagonal for ever. Given `weight`, starts at that matrix with
    its permutation and the signs of its diagonal.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, features: int, weight: Tensor | None = None) -> None:
        super().__init__(features)
        start = torch.eye(features, device="cpu") if weight is None else weight
        if start.shape != (features, features):
            raise UserError(
                f"A linear bijection of {features} features needs a square matrix ({features}, {features}); "
                f"got one of shape {tuple(start.shape)}."
            )
        permutation, lower, upper = torch.linalg.lu(start)
        diagonal = upper.diagonal()
        if not bool((diagonal.abs() > 0).all()):
            raise UserError("A linear bijection needs an invertible matrix; the one given has determinant 0.")
        self.bias.data = self.bias.data.to(start.dtype)
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_scale = nn.Parameter(diagonal.abs().log())
        self.register_buffer("sign", diagonal.sign())
        self.register_buffer("order", permutation.argmax(1))

    def matrix(self) -> Tensor:
        return (self._lower() @ self._upper())[self.order]

    def log_det(self) -> Tensor:
        return self.log_scale.sum()

    def solved(self, y: Tensor) -> Tensor:
        y = y[torch.argsort(self.order)]
        y = torch.linalg.solve_triangular(self._lower(), y, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(self._upper(), y, upper=True)

    def _lower(self) -> Tensor:
        return self.lower.tril(-1) + torch.eye(self.features, dtype=self.lower.dtype, device=self.lower.device)

    def _upper(self) -> Tensor:
        return self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())


class _Orthogonal(_Matrix):
    """W Wᵀ = 1: volumes stay as they are."""

    def log_det(self) -> Tensor:
        return self.bias.new_zeros(())

    def solved(self, y: Tensor) -> Tensor:
        return self.matrix().T @ y


class Householder(_Orthogonal):
    """W = Π_k (1 − 2 v_k v_kᵀ/|v_k|²); with as many reflections as features, every orthogonal matrix of its sign."""

    def __init__(self, features: int, reflections: int | None = None) -> None:
        super().__init__(features)
        count = features if reflections is None else reflections
        require_positive(reflections=count)
        self.directions = nn.Parameter(nn.init.normal_(torch.empty(count, features)))

    def matrix(self) -> Tensor:
        return householder(self.directions)


def householder(directions: Tensor) -> Tensor:
    """The product of the reflections along the rows of (k, d): an orthogonal matrix (d, d)."""
    matrix = torch.eye(directions.shape[1], dtype=directions.dtype, device=directions.device)
    for v in directions / directions.norm(dim=1, keepdim=True):
        matrix = matrix - 2 * torch.outer(matrix @ v, v)
    return matrix


class Cayley(_Orthogonal):
    """W = (1 + A)⁻¹(1 − A) with A skew: the rotations without the eigenvalue −1; the identity at the start."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.skew = nn.Parameter(torch.zeros(features, features))

    def matrix(self) -> Tensor:
        a = self.skew.triu(1)
        a = a - a.T
        one = torch.eye(self.features, dtype=a.dtype, device=a.device)
        return torch.linalg.solve(one + a, one - a)
