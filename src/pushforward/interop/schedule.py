"""What the configuration of a diffusers scheduler says of the model: its path, what it predicts, the time it is given.

Which sampler the scheduler names does not matter here: a model trained on a table of β can be sampled by all of ours.
The arithmetic of the tables is that of diffusers, in float32, so that levels agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pushforward.denoisers.estimate import Reading
from pushforward.denoisers.precondition import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    NoisePrediction,
    Prediction,
    TableIndex,
    VPrediction,
    log_noise,
)
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.processes import EDM, VE, Straight
from pushforward.paths.table import Table

_NOISE = NoisePrediction()
USUAL_DEVIATION = 0.5
"""σ_data of pictures in [−1, 1], which our default sampler is told where the model does not say."""


@dataclass(frozen=True)
class Unscaled(Prediction):
    """A prediction whose network is given x_t as it is."""

    sigma_data: float = USUAL_DEVIATION
    inner: Prediction = _NOISE

    def input_scale(self, level: Level) -> Scalar:
        return 1.0

    def reading(self, level: Level) -> Reading:
        return self.inner.reading(level)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        return self.inner.target_scales(level)


@dataclass(frozen=True)
class RawScore(Prediction):
    """The score itself: noise = −σF."""

    def input_scale(self, level: Level) -> Scalar:
        return 1.0

    def reading(self, level: Level) -> Reading:
        inner = _NOISE.reading(level)
        return Reading(inner.mean_x, -level.sigma * inner.mean_f, 0.0, -level.sigma)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        return 0.0, -1 / level.sigma


@dataclass(frozen=True)
class NegativeEDM(EDMPrediction):
    """EDM's prediction with the other sign, which diffusers calls "v_prediction" there."""

    def reading(self, level: Level) -> Reading:
        inner = super().reading(level)
        return Reading(inner.mean_x, -inner.mean_f, inner.noise_x, -inner.noise_f)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        a, b = super().target_scales(level)
        return -a, -b


@dataclass(frozen=True, eq=False)
class Schedule:
    """Path, prediction and time of a model; `clip` bounds E[x_0 | x_t] where the scheduler says so, None: it does not.

    `time` gives the number that the network is told of a level, `level` the level of such a number. `config` is what
    it was read from.
    """

    path: GaussianPath
    prediction: Prediction
    time: Callable[[Level], Scalar]
    level: Callable[[float], Level]
    clip: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


def read_schedule(config: Mapping[str, Any]) -> Schedule:
    """What a scheduler_config.json says. Raises UserError for schedulers whose models are none of these."""
    name = str(config.get("_class_name", ""))
    reader = next((reader for names, reader in _READERS if name in names), None)
    if reader is None:
        known = sorted(name for names, _ in _READERS for name in names)
        raise UserError(f"the scheduler {name!r} is none whose model can be read here; known are {', '.join(known)}")
    try:
        return reader(name, config)
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the configuration of {name} cannot be read: {error}") from None


def _table(name: str, config: Mapping[str, Any]) -> Schedule:
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return _straight(name, config)
    betas = _betas(name, config)
    bar = torch.cumprod(1.0 - betas, 0)
    if config.get("rescale_betas_zero_snr") and name in _NEVER_ZERO:
        bar[-1] = 2.0**-24
    path = Table(bar.double().sqrt(), (1 - bar).double().sqrt())
    count = len(path)
    predictions: dict[str, Prediction] = {"epsilon": _NOISE, "sample": DataPrediction(), "v_prediction": VPrediction()}
    predicted = str(config.get("prediction_type", "epsilon"))
    if predicted not in predictions:
        raise UserError(f"{name} predicts {predicted!r}; known are {', '.join(predictions)} and flow_prediction")
    if config.get("thresholding"):
        raise UserError(f"{name} uses dynamic thresholding: switch it off and wrap the denoiser in DynamicThreshold")
    clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", name in _CLIPPING) else None
    return Schedule(
        path,
        Unscaled(inner=predictions[predicted]),
        TableIndex(count),
        lambda index: path.level(min(max((index + 1) / count, 0.0), 1.0)),
        clip,
        dict(config),
    )


def _betas(name: str, config: Mapping[str, Any]) -> Tensor:
    """float32, by the same arithmetic as diffusers."""
    given, count = config.get("trained_betas"), int(config.get("num_train_timesteps", 1000))
    first, last = _ENDS if name in _LATENT else (1e-4, 0.02)
    first, last = float(config.get("beta_start", first)), float(config.get("beta_end", last))
    kind = "squaredcos_cap_v2" if name == "UnCLIPScheduler" else config.get("beta_schedule", _usual(name))
    if given is not None:
        betas = torch.tensor(given, dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(first, last, count, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        betas = torch.tensor([_cosine_beta(i / count, (i + 1) / count) for i in range(count)], dtype=torch.float32)
    elif kind == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-6, 6, count)) * (last - first) + first
    else:
        raise UserError(
            f"{name} has the β schedule {kind!r}; known are linear, scaled_linear, squaredcos_cap_v2, sigmoid"
        )
    return _without_signal(betas) if config.get("rescale_betas_zero_snr") else betas


def _cosine_beta(before: float, after: float) -> float:
    low, high = (math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (before, after))
    return min(1 - high / low, 0.999)


def _without_signal(betas: Tensor) -> Tensor:
    """√ᾱ moved and scaled so that it ends at 0 (Lin et al. 2024, algorithm 1), in float32."""
    root = torch.cumprod(1.0 - betas, 0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    bar = ((root - last) * (first / (first - last))) ** 2
    return 1 - torch.cat((bar[:1], bar[1:] / bar[:-1]))


def _straight(name: str, config: Mapping[str, Any]) -> Schedule:
    count, path = float(config.get("num_train_timesteps", 1000)), Straight(t_min=1e-3)
    if config.get("invert_sigmas"):
        raise UserError(f"{name} with invert_sigmas runs the other way, which is not known here")
    return Schedule(
        path,
        Unscaled(inner=FlowPrediction()),
        lambda level: level.sigma * count,
        lambda time: path.level(min(max(time / count, 0.0), 1.0)),
        None,
        dict(config),
    )


def _edm(name: str, config: Mapping[str, Any]) -> Schedule:
    path = EDM(float(config.get("sigma_min", 0.002)), float(config.get("sigma_max", 80.0)))
    data = float(config.get("sigma_data", 0.5))
    kind = str(config.get("prediction_type", "epsilon"))
    if kind not in ("epsilon", "v_prediction"):
        raise UserError(f"{name} predicts {kind!r}; known are epsilon and v_prediction")
    prediction = EDMPrediction(data) if kind == "epsilon" else NegativeEDM(data)

    def level(time: float) -> Level:
        return Level(math.exp(4 * time) / path.sigma_max, 1.0, math.exp(4 * time))

    return Schedule(path, prediction, log_noise, level, None, dict(config))


def _exploding(name: str, config: Mapping[str, Any]) -> Schedule:
    path = VE(float(config.get("sigma_min", 0.01)), float(config.get("sigma_max", 1348.0)))

    def level(time: float) -> Level:
        return Level(float(path.time(-torch.tensor(time, dtype=torch.float64).log())), 1.0, time)

    return Schedule(path, RawScore(USUAL_DEVIATION), lambda level: level.sigma, level, None, dict(config))


def _usual(name: str) -> str:
    return "scaled_linear" if name in ("LCMScheduler", "TCDScheduler") else "linear"


_ENDS = (0.00085, 0.012)
_LATENT = frozenset(
    (
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "LCMScheduler",
        "TCDScheduler",
        "DPMSolverSDEScheduler",
    )
)
"""Schedulers whose β go from 0.00085 to 0.012 where the configuration does not say."""
_CLIPPING = frozenset(
    ("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler")
)
_NEVER_ZERO = frozenset(
    (
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    )
)
"""Schedulers that put ᾱ = 2⁻²⁴ where it would be 0."""
_TABLES = (
    _CLIPPING
    | _LATENT
    | _NEVER_ZERO
    | {
        "PNDMScheduler",
        "DPMSolverMultistepInverseScheduler",
        "DPMSolverSinglestepScheduler",
        "DEISMultistepScheduler",
        "LMSDiscreteScheduler",
        "SASolverScheduler",
        "RePaintScheduler",
        "UnCLIPScheduler",
    }
)
_READERS: tuple[tuple[frozenset[str], Callable[[str, Mapping[str, Any]], Schedule]], ...] = (
    (_TABLES, _table),
    (frozenset(("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")), _edm),
    (frozenset(("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")), _straight),
    (frozenset(("ScoreSdeVeScheduler",)), _exploding),
)
