"""Maps x + a bump: planar and radial (Rezende & Mohamed 2015), Sylvester (van den Berg et al. 2018).

A condition (B, c) moves the bump. Their inverses are found numerically, to rounding error, one scalar root at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.flows.bijection import Layer
from pushforward.flows.linear import householder
from pushforward.flows.roots import tanh_root
from pushforward.networks.checks import require_positive
from pushforward.networks.made import check_features


class Moved(nn.Module):
    """A vector (n,) that a condition moves linearly: (B or 1, n)."""

    def __init__(self, size: int, context: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))
        self.weight = nn.Parameter(torch.zeros(size, context))

    def forward(self, context: Tensor | None) -> Tensor:
        expected = self.weight.shape[1]
        if (0 if context is None else context.shape[-1]) != expected:
            given = "none was given" if context is None else f"{tuple(context.shape)} was given"
            raise UserError(f"This layer was built for a condition of {expected} numbers per sample; {given}.")
        return self.bias[None] if context is None else self.bias + context @ self.weight.T


class Sylvester(Layer):
    """y = x + Q R tanh(R̃ Qᵀ x + b): Q (d, units) orthonormal, R and R̃ upper triangular, R_ii R̃_ii > −1.

    log |det| = Σ log(1 + R_ii R̃_ii tanh′). The inverse solves for Qᵀx from its last entry to its first.
    """

    def __init__(self, features: int, units: int | None = None, *, context: int = 0) -> None:
        super().__init__()
        units = features if units is None else units
        require_positive(features=features, units=units)
        if units > features:
            raise UserError(f"A Sylvester layer of {features} features has at most that many units; got {units}.")
        self.directions = nn.Parameter(nn.init.normal_(torch.empty(units, features)))
        self.outer = nn.Parameter(nn.init.normal_(torch.empty(units, units), std=0.1))
        self.inner = nn.Parameter(nn.init.normal_(torch.empty(units, units), std=0.1))
        self.bias = Moved(units, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(x.shape[1], self.directions.shape[1])
        basis, outer, inner = self._matrices()
        bent = torch.tanh(x @ basis @ inner.T + self.bias(context))
        slope = outer.diagonal() * inner.diagonal() * (1 - bent * bent)
        return x + bent @ outer.T @ basis.T, torch.log1p(slope).sum(1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(y.shape[1], self.directions.shape[1])
        basis, outer, inner = self._matrices()
        z = y @ basis
        bias = self.bias(context).expand(len(y), -1)
        v: list[Tensor] = []
        bent: list[Tensor] = []
        for i in reversed(range(len(outer))):
            # Entries i + 1 … are known; the newest was put in front.
            shift, target = bias[:, i], z[:, i]
            if v:
                shift = shift + torch.stack(v, 1) @ inner[i, i + 1 :]
                target = target - torch.stack(bent, 1) @ outer[i, i + 1 :]
            root = tanh_root(target, outer[i, i], inner[i, i], shift)
            v.insert(0, root)
            bent.insert(0, torch.tanh(inner[i, i] * root + shift))
        moved = torch.stack(bent, 1)
        slope = outer.diagonal() * inner.diagonal() * (1 - moved * moved)
        return y - moved @ outer.T @ basis.T, -torch.log1p(slope).sum(1)

    def _matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        units = len(self.outer)
        basis = householder(self.directions)[:, :units]
        # |diagonal| < 1 makes every product larger than −1.
        outer, inner = (m.triu(1) + torch.diag(torch.tanh(m.diagonal())) for m in (self.outer, self.inner))
        return basis, outer, inner


class Planar(Layer):
    """y = x + u tanh(w·x + b), u made such that w·u > −1."""

    def __init__(self, features: int, *, context: int = 0) -> None:
        super().__init__()
        require_positive(features=features)
        scale = 1 / math.sqrt(features)
        self.normal = nn.Parameter(nn.init.normal_(torch.empty(features), std=scale))
        self.push = nn.Parameter(nn.init.normal_(torch.empty(features), std=0.1 * scale))
        self.bias = Moved(1, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(x.shape[1], len(self.normal))
        push, reach = self._push()
        bent = torch.tanh(x @ self.normal + self.bias(context)[:, 0])
        return x + bent[:, None] * push, torch.log1p(reach * (1 - bent * bent))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(y.shape[1], len(self.normal))
        push, reach = self._push()
        bias = self.bias(context)[:, 0].expand(len(y))
        along = tanh_root(y @ self.normal, reach, torch.ones_like(reach), bias)
        bent = torch.tanh(along + bias)
        return y - bent[:, None] * push, -torch.log1p(reach * (1 - bent * bent))

    def _push(self) -> tuple[Tensor, Tensor]:
        """u and w·u = softplus(raw) − 1 + a little."""
        raw = self.push @ self.normal
        reach = functional.softplus(raw + math.log(math.e - 1)) - 1 + 1e-4
        return self.push + (reach - raw) * self.normal / (self.normal @ self.normal), reach


class Radial(Layer):
    """y = x + β (x − x₀)/(α + |x − x₀|) with α > 0, β > −α; the inverse is the root of a quadratic in the radius."""

    def __init__(self, features: int, *, context: int = 0) -> None:
        super().__init__()
        require_positive(features=features)
        self.features = features
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.raw_beta = nn.Parameter(torch.zeros(()))
        self.centre = Moved(features, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(x.shape[1], self.features)
        centre = self.centre(context)
        away = x - centre
        alpha, beta = self._scales()
        radius = _length(away)
        return x + (beta / (alpha + radius))[:, None] * away, self._log_det(radius)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_features(y.shape[1], self.features)
        centre = self.centre(context)
        away = y - centre
        alpha, beta = self._scales()
        far = _length(away)
        half = 0.5 * (alpha + beta - far)
        root = (half * half + far * alpha).sqrt()
        # r = −half + root, without the difference of equals where half > 0.
        radius = torch.where(half > 0, far * alpha / (half + root), root - half)
        return centre + away / (1 + beta / (alpha + radius))[:, None], -self._log_det(radius)

    def _scales(self) -> tuple[Tensor, Tensor]:
        """α = e^a and β = softplus(raw) − α, at the start 0."""
        alpha = self.log_alpha.exp()
        return alpha, alpha * (functional.softplus(self.raw_beta + math.log(math.e - 1)) - 1 + 1e-4)

    def _log_det(self, radius: Tensor) -> Tensor:
        alpha, beta = self._scales()
        around = beta / (alpha + radius)
        outward = beta * alpha / (alpha + radius).square()
        return (self.features - 1) * torch.log1p(around) + torch.log1p(outward)


def _length(x: Tensor) -> Tensor:
    """|x| (B,), with gradient 0 where x is 0."""
    square = (x * x).sum(1)
    zero = square == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())
