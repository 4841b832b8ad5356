"""Projection onto a noised measurement between predictor and corrector (Song, Shen, Xing, Ermon 2022).

The measurement of x_t = α x_0 + σ z is α y − α σ_y n + σ A z. Two rules put it into the state:

- `Published`: x ← x + λ A⁺(α y + σ A z − A x), as printed. The noise of y is not modelled: what the operator sees badly
  is filled with it.
- `Modelled`: x ← x + λ K(α y + σ A z + √(2/δ − 1) α σ_y n − A x), K = σ² A*(σ² A A* + α² σ_y²/δ)⁻¹. In the singular
  vectors of A the gain k = σ²/(σ² + v/δ), v = (α σ_y/s)², goes from 1, where diffusion noise hides the measurement's,
  to 0. With the fresh n the law of x_t given x_0 stays N(α x_0, σ²): (1 − k)² σ² + k² (v + (2/δ − 1) v + σ²) = σ². δ is
  the share of σ² that the next interval renews. The state keeps what it has learned of y, so that y, put in whole at
  each of many steps, would be counted many times. Where there is no singular system, much diffusion noise would make
  the solve ill-conditioned: α² σ_y²/δ is then no less than a thousandth of σ²‖A‖², in the gain and in the fresh n, so
  that the law stays what it is, and what A sees badly comes in over several steps.

The two agree in the mean where σ_y = 0. With a singular system `Modelled` draws σ A z and its fresh n as one: U* of
them is normal, of variance σ² s² + (2/δ − 1) α² σ_y² in each component.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import normal_like
from pushforward.inverse.operators.singular import inverse
from pushforward.inverse.steps.anew import AnewAbove
from pushforward.inverse.steps.measured import Measured, Parts
from pushforward.inverse.steps.moves import REVERSE_SDE, Stepwise
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import Grid, Uniform
from pushforward.samplers.langevin import Langevin, SignalToNoise
from pushforward.samplers.predictors import ReverseDiffusion
from pushforward.samplers.step import Step, inner_draws

_LITTLE = 1e-12
"""The variance that stands for σ² = 0 where some items have σ_y = 0: those are met, the others left alone."""


class Projection(Protocol):
    """x at a level → x there that agrees with the measurement; `share` is that of the noise renewed after it."""

    def __call__(self, measured: Measured, x: Tensor, level: Level, share: Scalar, draws: Draws, /) -> Tensor: ...


def _check_weight(weight: float) -> None:
    if not 0 < weight <= 1:
        raise UserError(f"the weight λ of a projection lies in (0, 1]; got {weight}")


@dataclass(frozen=True)
class Published:
    """x + λ A⁺(α y + σ A z − A x), the measurement taken to be exact."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_weight(self.weight)

    def __call__(self, measured: Measured, x: Tensor, level: Level, share: Scalar, draws: Draws, /) -> Tensor:
        # At clean data the projection is complete (Song et al. 2022, algorithm 2).
        weight = self.weight if level.sigma > 0 else 1.0
        return x + weight * measured.solution(_residual(measured, x, level, draws))


@dataclass(frozen=True)
class Modelled:
    """x + λ K(α y + σ A z + … n − A x), K the gain of a state of variance σ² against noise of variance α² σ_y²/δ."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_weight(self.weight)

    def __call__(self, measured: Measured, x: Tensor, level: Level, share: Scalar, draws: Draws, /) -> Tensor:
        if level.sigma == 0 and not isinstance(measured.sigma, Tensor) and not measured.noiseless:
            return x
        if measured.parts is not None:
            return x + self.weight * _in_parts(measured.parts, measured.sigma, x, level, share, draws)
        residual = _residual(measured, x, level, draws)
        if measured.noiseless:
            return x + self.weight * measured.solution(residual)
        spread: Scalar = level.alpha * measured.sigma
        if level.sigma > 0:
            noise = _at_least(spread**2 / share, measured.floor * level.sigma**2)
            fresh = (2 * noise - spread**2) ** 0.5
            residual = residual + expand(fresh, residual.real) * measured.noise(draws.at("measurement"))
            return x + self.weight * measured.gain(residual, level.sigma**2, noise)
        return x + self.weight * measured.gain(residual, _LITTLE, spread**2)


MODELLED = Modelled()


def _in_parts(parts: Parts, sigma: Scalar, x: Tensor, level: Level, share: Scalar, draws: Draws) -> Tensor:
    """K(…) with a singular system: σ A z and the fresh n are one normal in each component."""
    s = parts.s
    residual = level.alpha * parts.y - s * parts.system.v.adjoint(x)
    spread: Scalar = expand(level.alpha * sigma, residual.real)
    if level.sigma == 0:
        return parts.system.v(s * inverse(_LITTLE * s * s + spread**2) * _LITTLE * residual)
    noise = spread**2 / expand(share, residual.real)
    fresh = (level.sigma**2 * s * s + 2 * noise - spread**2) ** 0.5
    residual = residual + fresh * normal_like(residual, draws.at("measurement"))
    return parts.system.v(s * inverse(level.sigma**2 * s * s + noise) * level.sigma**2 * residual)


def _at_least(value: Scalar, least: float) -> Scalar:
    return value.clamp(min=least) if isinstance(value, Tensor) else max(value, least)


def _residual(measured: Measured, x: Tensor, level: Level, draws: Draws) -> Tensor:
    """α y + σ A z − A x, with one product."""
    state = x - level.sigma * draws.at("state").normal_like(x) if level.sigma > 0 else x
    return measured.operator.measured(level.alpha * measured.y - measured.operator(state))


@dataclass(frozen=True, slots=True)
class ProjectedMove:
    """Project at `level`, correct, project, predict; project at `last` as well, if that is given."""

    level: Level
    share: float
    predict: Any
    correct: Any
    last: Level | None
    random: bool = True

    @property
    def evaluations(self) -> int | None:
        counts = [move.evaluations for move in (self.predict, self.correct) if move is not None]
        return None if None in counts else sum(counts)


@dataclass(frozen=True, eq=False)
class ProjectedStep:
    """A predictor, perhaps after a corrector at the same level, with a projection before each and at clean data."""

    measured: Measured
    predictor: Step
    corrector: Step | None
    projection: Projection

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[ProjectedMove]:
        first = self.predictor.plan(path, levels)
        return [
            ProjectedMove(
                t,
                REVERSE_SDE(t, s),
                move,
                self.corrector.plan(path, (t, t))[0] if self.corrector and t.alpha > 0 else None,
                s if s.sigma == 0 else None,
            )
            for (t, s), move in zip(itertools.pairwise(levels), first, strict=True)
        ]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: ProjectedMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        share = self.predictor.share(move.predict) if isinstance(self.predictor, AnewAbove) else move.share
        x = self.projection(self.measured, x, move.level, share, draws.at("first"))
        if self.corrector is not None and move.correct is not None:
            x, _ = self.corrector(denoiser, x, move.correct, None, inner_draws(draws, move.correct, "correct"))
            x = self.projection(self.measured, x, move.level, share, draws.at("second"))
        x, memory = self.predictor(denoiser, x, move.predict, memory, inner_draws(draws, move.predict, "predict"))
        if move.last is not None:
            x = self.projection(self.measured, x, move.last, 1.0, draws.at("last"))
        return x, memory


@dataclass(frozen=True)
class ProjectedScore(Stepwise):
    """Any predictor and corrector with projections; linear operators of every kind, complex and multi-coil too.

    With a singular system a projection is in closed form, else it is a solve by conjugate gradients. Without a
    predictor it is `AnewAbove` the measurement's noise.
    """

    projection: Projection = MODELLED
    predictor: Step | None = None
    corrector: Step | None = None
    grid: Grid | None = None

    @staticmethod
    def published(weight: float = 1.0, snr: float = 0.517) -> ProjectedScore:
        """Song, Shen, Xing, Ermon (2022): MRI by default (λ = 1, 0.517), CT λ = 0.841, 0.246; 2000 evaluations."""
        corrector = Langevin(SignalToNoise(snr))
        return ProjectedScore(Published(weight), ReverseDiffusion(), corrector, Uniform())

    @staticmethod
    def controllable(snr: float = 0.16) -> ProjectedScore:
        """Controllable generation of Song et al. (2021, appendix I): inpainting by a Mask, colourisation by `grey`.

        2000 evaluations are published. Classes are met by `classifier_guided` denoisers.
        """
        return ProjectedScore.published(1.0, snr)

    @property
    def levels(self) -> Grid | None:
        return self.grid

    def step(self, measured: Measured, x: Tensor) -> ProjectedStep:
        predictor = self.predictor or AnewAbove.of(measured)
        return ProjectedStep(measured, predictor, self.corrector, self.projection)
