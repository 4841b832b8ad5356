"""A multistep sampler whose times and coefficients are numbers of their own, fitted to one model (see `tuning`)."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.samplers.default import Sampler
from pushforward.samplers.multistep import BalancedQuantity

_SAME_LEVEL = 1e-6
"""How far, relatively, a grid's σ/α may be from the ones that the coefficients were fitted to."""


@dataclass(frozen=True, slots=True)
class TunedMove:
    """x_s = keep·x_T + Σ_j weights[j]·F_j, the oldest F first; F is evaluated at `level`, or not at all."""

    level: Level | None
    a: float
    b: float
    keep: float
    weights: tuple[float, ...]
    random: ClassVar[bool] = False

    @property
    def evaluations(self) -> int:
        return 0 if self.level is None else 1


@dataclass(frozen=True)
class Tuned:
    """y_i = α_i y_T + Σ_{j<i} β_ij F_j in y = x/√(σ² + s²α²), F that of EDM with s = σ_data; it ends at σ = 0.

    From the start (σ/α = `start`, ∞ where α = 0) the state is carried to the first node without an evaluation; then
    one evaluation at each of the n `nodes` (σ/α, decreasing), the last of which leads to clean data. `keeps` are the
    n + 1 numbers α_i, `weights` n rows of β of lengths 1 … n. Floats and tuples only, so that it is stored as JSON.
    """

    sigma_data: float
    start: float
    nodes: tuple[float, ...]
    keeps: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        n = len(self.nodes)
        if n < 1 or len(self.keeps) != n + 1 or [len(row) for row in self.weights] != list(range(1, n + 1)):
            raise UserError(
                f"a tuned sampler of n evaluations has n nodes, n + 1 numbers `keeps` and rows of weights of lengths 1 "
                f"to n; got {n}, {len(self.keeps)} and {[len(row) for row in self.weights]}"
            )
        numbers = [self.sigma_data, *self.nodes, *self.keeps, *itertools.chain(*self.weights)]
        if not all(map(math.isfinite, numbers)) or not self.sigma_data > 0:
            raise UserError("the numbers of a tuned sampler must be finite, and sigma_data positive")
        ratios = (self.start, *self.nodes)
        if not all(low < high for high, low in itertools.pairwise(ratios)) or not ratios[-1] > 0:
            raise UserError(f"the nodes of a tuned sampler must decrease from its start to above 0; got {ratios}")

    @property
    def evaluations(self) -> int:
        """How often the network is called: the number of nodes."""
        return len(self.nodes)

    def levels(self, path: GaussianPath) -> tuple[Level, ...]:
        """The grid that it was fitted to: t_max, the nodes, clean data. Raises UserError for another path's range."""
        times = path.time(-torch.log(torch.tensor(self.nodes, dtype=torch.float64)))
        levels = (*path.levels([path.t_max]), *path.levels(times), CLEAN)
        self._check(levels)
        return levels

    def whole(self) -> Sampler:
        """With its own grid, whatever the number of steps asked for."""
        return Sampler(self, OwnGrid(self))

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[TunedMove]:
        self._check(levels)
        quantity = BalancedQuantity(self.sigma_data)
        roots = [math.hypot(level.sigma, level.alpha * self.sigma_data) for level in levels]
        moves = [TunedMove(None, 0.0, 0.0, self.keeps[0] * roots[1] / roots[0], ())]
        for i, row in enumerate(self.weights, 1):
            keep = self.keeps[i] * roots[i + 1] / roots[0]
            weights = tuple(weight * roots[i + 1] for weight in row)
            moves.append(TunedMove(levels[i], *quantity.scales(levels[i]), keep, weights))
        return moves

    def _check(self, levels: Sequence[Level]) -> None:
        wanted = (self.start, *self.nodes, 0.0)
        given = [float(level.ratio) for level in levels]
        if len(given) != len(wanted) or not all(map(_same, given, wanted)):
            raise UserError(
                f"this sampler was tuned for the noise levels σ/α = {_listed(wanted)}; got {_listed(given)}: use its "
                "own `levels(path)` on the path that it was tuned on, or tune again"
            )

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: TunedMove, memory: tuple[Tensor, ...] | None, draws: Draws, /
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        memory = memory or (x,)
        if move.level is not None:
            memory = (*memory, denoiser.estimate(x, move.level).read(move.a, move.b))
        moved = memory[0] * move.keep
        for weight, value in zip(move.weights, memory[1:], strict=True):
            moved = torch.add(moved, value, alpha=weight)
        return moved, memory

    def to_json(self) -> str:
        """All its numbers as text; `of_json` gives back the same sampler to the last bit."""
        return json.dumps(asdict(self) | {"start": None if math.isinf(self.start) else self.start})

    @staticmethod
    def of_json(text: str) -> Tuned:
        """The sampler that `to_json` wrote. Raises UserError for any other text."""
        try:
            return _of_numbers(json.loads(text))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not a stored tuned sampler: {error}") from error


@dataclass(frozen=True)
class OwnGrid:
    """The one grid that a tuned sampler was fitted to."""

    tuned: Tuned

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        return self.tuned.levels(path)


def _of_numbers(stored: Mapping[str, Any]) -> Tuned:
    start = math.inf if stored["start"] is None else float(stored["start"])
    nodes, keeps = (tuple(map(float, stored[name])) for name in ("nodes", "keeps"))
    return Tuned(
        float(stored["sigma_data"]), start, nodes, keeps, tuple(tuple(map(float, r)) for r in stored["weights"])
    )


def _same(given: float, wanted: float) -> bool:
    return given == wanted or abs(given - wanted) <= _SAME_LEVEL * wanted < math.inf


def _listed(ratios: Sequence[float]) -> str:
    return ", ".join(f"{ratio:.4g}" for ratio in ratios)
