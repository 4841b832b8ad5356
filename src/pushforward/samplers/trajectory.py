"""The optimal trajectory of Analytic-DPM: which K levels of a table to visit, by dynamic programming (Bao et al. 2022).

With the optimal variances, the bound on −log p of DDPM on a trajectory is, up to a constant, half the dimension times
the sum over its jumps r → s of log(1 − Γ_r σ²_{r|s}/σ_r²), where σ²_{r|s} = σ_r² − (α_r σ_s/α_s)² and
Γ = E‖E[z | x_r]‖²/d. The jumps that make the sum least are found in O(K N²).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.variance import VarianceTable
from pushforward.errors import UserError
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.paths.grids import UniformLogSNR, check_steps
from pushforward.paths.table import Table


def jump_costs(levels: Sequence[Level], gamma: Tensor) -> Tensor:
    """F[s, r] = log(1 − Γ_r σ²_{r|s}/σ_r²) for a jump from levels[r] down to levels[s], ∞ unless s < r: float64 (N, N).

    levels: from little noise to much; gamma: (N,), exact values of which lie in [0, 1): estimates are clipped
    at 0, and put right by `below_one` where they reach 1. Raises UserError where no Γ is below 1.
    """
    if gamma.shape != (len(levels),):
        raise UserError(f"one value of Γ per level is needed: {len(levels)}; got the shape {tuple(gamma.shape)}")
    alpha = torch.tensor([level.alpha for level in levels], dtype=torch.float64)
    sigma = torch.tensor([level.sigma for level in levels], dtype=torch.float64)
    kept = (alpha[None, :] * sigma[:, None] / (alpha[:, None] * sigma[None, :])) ** 2  # σ_r² less σ²_{r|s}, over σ_r²
    valid = below_one(gamma.to(alpha), sigma / alpha).clamp(0, 1)
    cost = torch.log1p(-valid[None, :] * (1 - kept))
    return torch.where(torch.ones_like(cost).triu(1).bool(), cost, torch.inf)


def below_one(gamma: Tensor, ratio: Tensor) -> Tensor:
    """Γ (N,) at the levels' σ/α (N,), with those that are not below 1 put right from the nearest cleaner valid level.

    1 − Γ is (α/σ)² Var[x_0 | x_t], so Γ ≥ 1 is an error of its estimate: of no variance, from where one jump to the
    data would be the best of trajectories. The variance grows with the noise; it is taken to be that of the nearest
    cleaner level, or of the cleanest valid one where there is none cleaner. Raises UserError where none is valid.
    """
    valid = gamma < 1
    if not bool(valid.any()):
        raise UserError(
            "an optimal trajectory needs levels with Γ < 1, where x_0 given x_t varies; none was given: estimate Γ on "
            "more data"
        )
    number = torch.arange(len(gamma), device=gamma.device)
    nearest = torch.where(valid, number, -1).cummax(0).values
    nearest = torch.where(nearest < 0, number[valid][0], nearest)
    return torch.where(valid, gamma, 1 - (1 - gamma[nearest]) * (ratio[nearest] / ratio) ** 2)


def cheapest_chain(costs: Tensor, jumps: int) -> list[int]:
    """The indices 0 = k_0 < … < k_jumps = N − 1 of least total cost, where costs[s, r] is the jump's from r to s."""
    n = len(costs)
    if not 1 <= jumps <= n - 1:
        raise UserError(f"{n} levels admit 1 to {n - 1} jumps between them; got {jumps}")
    best = torch.full((n,), torch.inf, dtype=costs.dtype)
    best[0] = 0.0
    origin = []
    for _ in range(jumps):
        best, came = (best[:, None] + costs).min(0)
        origin.append(came)
    chain = [n - 1]
    for came in reversed(origin):
        chain.append(int(came[chain[-1]]))
    return chain[::-1]


def optimal_trajectory(levels: Sequence[Level], gamma: Tensor, steps: int) -> tuple[Level, ...]:
    """The sampling grid of `steps` steps with the least bound: the noisiest level first, the cleanest, then clean data.

    levels: a table's, from little noise to much; gamma: (N,). Raises UserError unless 2 ≤ steps ≤ N.
    """
    if not 2 <= check_steps(steps) <= len(levels):
        raise UserError(f"a trajectory over {len(levels)} levels has 2 to {len(levels)} steps; got {steps}")
    chain = cheapest_chain(jump_costs(levels, gamma), steps - 1)
    return (*(levels[k] for k in reversed(chain)), CLEAN)


@dataclass(frozen=True)
class OptimalGrid:
    """The optimal trajectory as a grid, over the levels of a table, elsewhere over `candidates` uniform in log-SNR."""

    variances: VarianceTable
    candidates: int = 250

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        top, candidates = path.level(path.t_max), self._candidates(path)
        if check_steps(steps) == 1:
            return top, CLEAN
        levels = [level for level in candidates if level.alpha > 0]  # from α = 0 every jump is as good as another
        gamma = torch.tensor([self.variances.gamma(level) for level in levels], dtype=torch.float64)
        return (top, *optimal_trajectory(levels, gamma, steps)[1:])

    def _candidates(self, path: GaussianPath) -> tuple[Level, ...]:
        """From little noise to much."""
        if isinstance(path, Table):
            return path.levels(torch.arange(1, len(path) + 1, dtype=torch.float64) / len(path))
        return UniformLogSNR(to_clean=False)(path, self.candidates - 1)[::-1]
