"""Diffusion, score-based and flow-matching models from their section."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from pushforward.config.families import objective
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.networks import (
    AutoNetworkConfig,
    CustomNetworkConfig,
    DiTConfig,
    MagnitudeUNetConfig,
    MLPConfig,
    SequenceUNetConfig,
    UNetConfig,
)
from pushforward.config.family_schema.paths import (
    CosineConfig,
    DDPMConfig,
    EDMConfig,
    StraightConfig,
    SubVPConfig,
    VEConfig,
    VPConfig,
)
from pushforward.data.conditions import KNOWN, MASK
from pushforward.data.dataset import Dataset, Split
from pushforward.data.format import Format
from pushforward.denoisers.precondition import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    NoisePrediction,
    Prediction,
    ScorePrediction,
    VPrediction,
)
from pushforward.errors import UserError
from pushforward.models.diffusion import Diffusion
from pushforward.networks import MLP, DiT, MagnitudeUNet, OnVectors, UNet
from pushforward.networks.conditions import NAMES
from pushforward.objectives.coupling import Assignment, Coupling, Sinkhorn
from pushforward.objectives.weighting import (
    P2,
    EDMWeighting,
    LikelihoodWeighting,
    MinSNR,
    Weighting,
    data_weighting,
    noise_weighting,
    normalised,
    output_weighting,
    velocity_weighting,
)
from pushforward.paths import EDM, VE, VP, CosineVP, GaussianPath, Straight, SubVP, Table
from pushforward.paths.table import cosine_betas, linear_betas, sqrt_linear_betas, zero_terminal_snr
from pushforward.paths.times import LossAware, QuantileLaw, Stratified

_PREDICTIONS: dict[str, type[Prediction]] = {
    "noise": NoisePrediction,
    "data": DataPrediction,
    "v": VPrediction,
    "score": ScorePrediction,
    "flow": FlowPrediction,
    "edm": EDMPrediction,
}
_COUPLINGS: dict[str, Callable[[], Coupling | None]] = {
    "independent": lambda: None,
    "assignment": Assignment,
    "sinkhorn": Sinkhorn,
}
_SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas, "sqrt-linear": sqrt_linear_betas}
_MEASURED = 10_000
"""Items on which the standard deviation of the data is measured."""


def resolve(config: DiffusionConfig, data: Dataset) -> DiffusionConfig:
    """With network, σ_data, times and variance filled in. Raises UserError for settings that contradict one another."""
    return resolve_for(config, data.shape, config.sigma_data or measure_sigma(data.train), told_of(data))


def told_of(data: Dataset) -> dict[str, int]:
    """What is known of the items beside their class, by name: numbers of a vector or token, channels of an image."""
    if not getattr(data.train, "conditions", None) or not len(data.train):
        return {}
    conditions = data.train.batch([0]).conditions
    unknown = set(conditions) - set(KNOWN)
    if unknown:
        raise UserError(f"the items have the condition {min(unknown)!r}; networks are told {', '.join(KNOWN)}")
    return {name: value.shape[1 if name == "image" else -1] for name, value in conditions.items()}


def resolve_for(
    config: DiffusionConfig, shape: Sequence[int], sigma: float, told: Mapping[str, int] | None = None
) -> DiffusionConfig:
    """With all that is not given filled in for items of a shape, `sigma` as their deviation, `told` what is known."""
    config = config.model_copy(update={"told": _told(config, told or {})})
    config = config.model_copy(update={"times": _times(config), "learned_variance": _learned(config)})
    objective.check(config, build_path(config.path))
    network = config.network
    if isinstance(network, AutoNetworkConfig):
        network = _network_for(shape, network)
    _check_network(network, shape)
    if _learned(config) and not isinstance(network, UNetConfig | MLPConfig | CustomNetworkConfig):
        raise UserError(
            f"a learned variance is told by the networks unet and mlp, and by one of your own; model.network is "
            f"{network.kind}: set model.network=unet or mlp, or model.loss=simple"
        )
    return config.model_copy(update={"network": network, "sigma_data": config.sigma_data or sigma})


def build(config: DiffusionConfig, form: Format, classes: int, network: nn.Module | None) -> Diffusion:
    """The model of a resolved section; `network` is the user's own."""
    sigma = config.sigma_data or 1.0
    if network is None:
        outputs = 2 * form.shape[0] if _learned(config) else None
        network = build_network(
            config.network,
            form.shape,
            classes,
            outputs,
            {str(name): size for name, size in (config.told or {}).items()},
        )
    prediction = _PREDICTIONS[config.prediction](sigma)
    with torch.device("cpu"):  # levels and laws are numbers, also where the model is made without its own
        path = build_path(config.path)
        law = objective.law(_times(config), config.loss, path, sigma)
        weighting = _weighting(config, path, prediction, law)
        return Diffusion(
            network,
            path,
            prediction,
            LossAware(law) if _times(config) == "loss-aware" else Stratified(law),
            form.shape,
            classes,
            config.label_dropout,
            objective.loss(config.loss, weighting, path, form, learned=_learned(config)),
            _COUPLINGS[config.coupling](),
            tuple(config.told or {}),
            config.condition_dropout,
            variance=objective.variance(path, sigma) if _learned(config) else None,
        )


def _told(config: DiffusionConfig, known: Mapping[str, int]) -> dict[str, int]:
    """What the model is told: by default all that the data has. Raises UserError for what they do not have."""
    if config.told is None:
        return dict(known)
    for name, size in config.told.items():
        if known.get(name) != size:
            has = ", ".join(f"{other} of {n}" for other, n in known.items()) or "none"
            raise UserError(f"model.told names {name} of {size}, and the data has: {has} (data.conditions)")
    return {str(name): size for name, size in config.told.items()}


def _times(config: DiffusionConfig) -> str:
    return config.times or ("log-normal" if config.loss == "simple" else "uniform")


def _learned(config: DiffusionConfig) -> bool:
    return config.loss == "hybrid" if config.learned_variance is None else config.learned_variance


def describe(config: DiffusionConfig) -> str:
    """The network's kind, what it predicts and on which path."""
    weighting = "" if config.weighting == "output" else f", weighting {config.weighting}"
    loss = "" if config.loss == "simple" else f", {config.loss} loss"
    also = " and its variance" if _learned(config) else ""
    predicted = f"path {config.path.kind}, predicts {config.prediction}{also}{loss}{weighting}"
    known = f", told {', '.join(f'{name} of {size}' for name, size in config.told.items())}" if config.told else ""
    return f"{config.network.kind} · {predicted}, σ_data {config.sigma_data}{known}"


def _network_for(shape: Sequence[int], auto: AutoNetworkConfig) -> UNetConfig | MLPConfig:
    if len(shape) != 3:
        return MLPConfig(width=auto.width or 256, depth=4, dropout=auto.dropout)
    return UNetConfig(width=auto.width or 64, multipliers=levels_for(shape), dropout=auto.dropout)


def levels_for(shape: Sequence[int]) -> tuple[int, ...]:
    """The widths of a U-Net's resolutions, in units of the first: down to about 4 × 4, at most four."""
    halvings = max(1, min(3, int(math.log2(max(min(shape[1:]), 4) / 4))))
    return (1, 2, 2, 2)[: halvings + 1]


def _check_network(network: object, shape: Sequence[int]) -> None:
    if isinstance(network, UNetConfig | MagnitudeUNetConfig) and len(shape) != 3:
        raise UserError(
            f"a U-Net needs images, and the items here have the shape {tuple(shape)}: set model.network=mlp, or "
            "model.network=sequence-unet where the numbers of an item follow one another"
        )
    if isinstance(network, MLPConfig | SequenceUNetConfig) and len(shape) != 1:
        name = "an MLP" if isinstance(network, MLPConfig) else "a U-Net of sequences"
        raise UserError(
            f"{name} needs vectors, and the items here have the shape {tuple(shape)}: set model.network=unet"
        )
    if isinstance(network, DiTConfig):
        sides = shape[1:] if len(shape) == 3 else shape
        if any(side % network.patch for side in sides):
            raise UserError(
                f"patches of {network.patch} do not fill items of the shape {tuple(shape)}: set model.network.patch to "
                "a number that divides their sides, 1 always does"
            )


def measure_sigma(split: Split) -> float:
    """The standard deviation of the data over all coordinates, in model units."""
    values = split.batch(torch.arange(min(len(split), _MEASURED))).values.double()
    return round(max(float(values.std(unbiased=False)), 1e-3), 4)


def build_path(config: object) -> GaussianPath:
    """The path that a section describes."""
    match config:
        case VPConfig():
            return VP(config.beta_min, config.beta_max)
        case SubVPConfig():
            return SubVP(config.beta_min, config.beta_max)
        case CosineConfig():
            return CosineVP()
        case VEConfig():
            return VE(config.sigma_min, config.sigma_max)
        case EDMConfig():
            return EDM(config.sigma_min, config.sigma_max)
        case StraightConfig():
            return Straight()
        case DDPMConfig():
            betas = _SCHEDULES[config.schedule](config.levels)
            return Table.of_betas(zero_terminal_snr(betas) if config.zero_terminal_snr else betas)
    raise UserError(f"there is no path {config!r}")


def build_network(
    config: object,
    shape: Sequence[int],
    num_classes: int,
    outputs: int | None = None,
    told: Mapping[str, int] | None = None,
) -> nn.Module:
    """The network that a resolved section describes, for items of a shape; `outputs` channels, by default as many.

    `told` are its conditions beside the class and their sizes. Raises UserError where the network takes none such.
    """
    classes = num_classes or None
    known = {name: size for name, size in (told or {}).items() if name != MASK}
    _check_told(config, known)
    match config:
        case UNetConfig() | SequenceUNetConfig():
            return _unet(config, shape, classes, outputs, known)
        case MagnitudeUNetConfig() as c:
            return MagnitudeUNet(shape[0], c.width, c.multipliers, c.blocks, classes, c.dropout, c.recompute)
        case DiTConfig():
            return _dit(config, shape, classes, known)
        case MLPConfig():
            return MLP(shape[0], config.width, config.depth, classes, config.dropout, outputs, **known)
        case CustomNetworkConfig():
            raise UserError(
                f"this run was made with a network of your own ({config.name}): build it and pass it, "
                "pf.load(path, network=net)"
            )
    raise UserError(f"there is no network {config!r}")


def _check_told(config: object, told: Mapping[str, int]) -> None:
    takes: dict[type, Sequence[str]] = {MLPConfig: ("vector",), MagnitudeUNetConfig: ()}
    missing = [name for name in told if name not in takes.get(type(config), NAMES)]
    if missing:
        raise UserError(
            f"the network {getattr(config, 'kind', '')} is told no {missing[0]}: set model.network to unet or dit (of "
            "vectors sequence-unet or dit), or leave it out of data.conditions"
        )


def _unet(
    config: UNetConfig | SequenceUNetConfig,
    shape: Sequence[int],
    classes: int | None,
    outputs: int | None,
    told: Mapping[str, int],
) -> nn.Module:
    images = isinstance(config, UNetConfig)
    net = UNet(
        shape[0] if images else 1,
        config.width,
        config.multipliers,
        config.blocks,
        config.attention_at,
        classes,
        config.dropout,
        out_channels=outputs if images else None,
        dims=2 if images else 1,
        recompute=config.recompute,
        **told,
    )
    return net if images else OnVectors(net)


def _dit(config: DiTConfig, shape: Sequence[int], classes: int | None, told: Mapping[str, int]) -> nn.Module:
    images = len(shape) == 3
    net = DiT(
        shape[0] if images else 1,
        config.patch,
        config.width,
        config.depth,
        classes,
        config.dropout,
        dims=2 if images else 1,
        recompute=config.recompute,
        **told,
    )
    return net if images else OnVectors(net)


def _weighting(config: DiffusionConfig, path: GaussianPath, prediction: Prediction, law: QuantileLaw) -> Weighting:
    """By its name, of mean one over the law's times, so that learning rates and clipping mean the same for all."""
    named: dict[str, Weighting] = {
        "noise": noise_weighting,
        "data": data_weighting,
        "v": velocity_weighting,
        "edm": EDMWeighting(prediction.sigma_data),
        "min-snr": MinSNR(),
        "p2": P2(),
        "likelihood": LikelihoodWeighting(path),
    }
    return normalised(named[config.weighting], path, prediction, law) if config.weighting in named else output_weighting
