"""Names become objects here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from pushforward.config.schema import (
    AUGMENTATIONS,
    AutoNetworkConfig,
    Config,
    CosineConfig,
    CustomNetworkConfig,
    DataConfig,
    DDPMConfig,
    EDMConfig,
    MLPConfig,
    ModelConfig,
    StraightConfig,
    SubVPConfig,
    TrainingConfig,
    UNetConfig,
    VEConfig,
    VPConfig,
)
from pushforward.data.augment import compose, horizontal_flip, shift
from pushforward.data.dataset import Batch, Dataset, Split
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
from pushforward.networks import MLP, UNet
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, CosineVP, GaussianPath, Straight, SubVP, Table
from pushforward.paths.table import cosine_betas, linear_betas, sqrt_linear_betas, zero_terminal_snr
from pushforward.paths.times import LogitNormalTimes, LogNormalTimes, QuantileLaw, Stratified, UniformTimes
from pushforward.training.recipe import Augment, Precision, Recipe
from pushforward.training.schedule import Constant, Cosine

_PREDICTIONS: dict[str, type[Prediction]] = {
    "noise": NoisePrediction,
    "data": DataPrediction,
    "v": VPrediction,
    "score": ScorePrediction,
    "flow": FlowPrediction,
    "edm": EDMPrediction,
}
_SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas, "sqrt-linear": sqrt_linear_betas}
_MEASURED = 10_000
"""Items on which the standard deviation of the data is measured."""


def resolve(config: Config, data: Dataset) -> Config:
    """The configuration with everything that depends on the data filled in: network, σ_data, labels.

    What it returns describes the run completely; resolving it again changes nothing.
    """
    model = config.model
    network = model.network
    if isinstance(network, AutoNetworkConfig):
        network = _network_for(data.shape, network)
    _check_network(network, data.shape)
    _check_augmentation(config.data, data.shape)
    sigma = model.sigma_data or measure_sigma(data.train)
    conditional = model.conditional and bool(data.num_classes)
    resolved = model.model_copy(update={"network": network, "sigma_data": sigma, "conditional": conditional})
    training = config.training
    if training.steps is None and training.minutes is None:
        training = training.model_copy(update={"steps": 6000})
    return config.model_copy(update={"model": resolved, "training": training})


def _network_for(shape: Sequence[int], auto: AutoNetworkConfig) -> UNetConfig | MLPConfig:
    if len(shape) != 3:
        return MLPConfig(width=auto.width or 256, depth=4, dropout=auto.dropout)
    halvings = max(1, min(3, int(math.log2(max(min(shape[1:]), 4) / 4))))
    return UNetConfig(width=auto.width or 64, multipliers=(1, 2, 2, 2)[: halvings + 1], dropout=auto.dropout)


def _check_network(network: object, shape: Sequence[int]) -> None:
    if isinstance(network, UNetConfig) and len(shape) != 3:
        raise UserError(
            f"a U-Net needs images, and the items here have the shape {tuple(shape)}: set model.network=mlp"
        )
    if isinstance(network, MLPConfig) and len(shape) != 1:
        raise UserError(
            f"an MLP needs vectors, and the items here have the shape {tuple(shape)}: set model.network=unet"
        )


def _check_augmentation(config: DataConfig, shape: Sequence[int]) -> None:
    for name in AUGMENTATIONS:
        if getattr(config, name) and len(shape) != 3:
            raise UserError(
                f"data.{name} varies images, and the items here have the shape {tuple(shape)}: leave it out"
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


def build_network(config: object, shape: Sequence[int], num_classes: int) -> nn.Module:
    """The network that a resolved section describes, for items of a shape."""
    match config:
        case UNetConfig():
            return UNet(
                shape[0],
                config.width,
                config.multipliers,
                config.blocks,
                config.attention_at,
                num_classes or None,
                config.dropout,
            )
        case MLPConfig():
            return MLP(shape[0], config.width, config.depth, num_classes or None, config.dropout)
        case CustomNetworkConfig():
            raise UserError(
                f"this run was made with a network of your own ({config.name}): build it and pass it, "
                "pf.load(path, network=net)"
            )
    raise UserError(f"there is no network {config!r}")


def hollow_network(config: ModelConfig, shape: Sequence[int], num_classes: int) -> nn.Module:
    """The network of a resolved section without its numbers, on the device "meta": it takes no memory."""
    try:
        with torch.device("meta"):
            return build_network(config.network, shape, num_classes if config.conditional else 0)
    except (RuntimeError, OverflowError) as error:
        raise UserError(f"model.network is too large for any machine ({str(error).splitlines()[0][:100]})") from None


def build_model(
    config: ModelConfig, shape: Sequence[int], num_classes: int, network: nn.Module | None = None, seed: int = 0
) -> Diffusion:
    """The model that a resolved section describes, its weights drawn from the seed; the world's own stays as it was."""
    classes = num_classes if config.conditional else 0
    sigma = config.sigma_data or 1.0
    if network is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # of the CPU alone: that is the state which is put back
            network = build_network(config.network, shape, classes)
    prediction = _PREDICTIONS[config.prediction](sigma)
    return Diffusion(
        network, build_path(config.path), prediction, _times(config, sigma), shape, classes, config.label_dropout
    )


def _times(config: ModelConfig, sigma: float) -> Stratified:
    laws: dict[str, Callable[[], QuantileLaw]] = {
        "uniform": UniformTimes,
        "log-normal": lambda: LogNormalTimes(sigma_data=sigma),
        "logit-normal": LogitNormalTimes,
    }
    return Stratified(laws[config.times]())


def build_recipe(config: TrainingConfig, data: DataConfig) -> Recipe:
    """The recipe that a section describes."""
    plain = config.model_dump(exclude={"schedule", "precision"})
    schedule = Cosine() if config.schedule == "cosine" else Constant()
    return Recipe(**plain, schedule=schedule, precision=Precision(config.precision), augment=_augment(data))


def _augment(data: DataConfig) -> Augment | None:
    parts = [*([horizontal_flip] if data.flip else []), *([shift(data.shift)] if data.shift else [])]
    if not parts:
        return None
    change = compose(*parts)

    def augment(batch: Batch, draws: Draws) -> Batch:
        return Batch(change(batch.values, draws), batch.labels)

    return augment


def describe_model(config: ModelConfig, shape: Sequence[int], num_classes: int) -> str:
    """A resolved model in one line: kind and size of the network, path, prediction."""
    network = config.network
    parts: list[str] = [network.kind]
    if not isinstance(network, CustomNetworkConfig):
        net = hollow_network(config, shape, num_classes)
        parts.append(f"{human_count(sum(p.numel() for p in net.parameters()))} parameters")
    what = f"{config.family}: path {config.path.kind}, predicts {config.prediction}, σ_data {config.sigma_data}"
    classes = f", {num_classes} classes" if config.conditional and num_classes else ""
    return f"{' of '.join(parts)} · {what}{classes}"


def human_count(number: int) -> str:
    """A count for people.

    >>> human_count(1_830_000)
    '1.83 M'
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
