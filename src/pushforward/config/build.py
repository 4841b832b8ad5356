"""Names become objects here, and in `families`, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from pushforward.config import families
from pushforward.config.family_schema import ModelConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.networks import CustomNetworkConfig
from pushforward.config.schema import AUGMENTATIONS, Config, DataConfig, TrainingConfig
from pushforward.data.augment import compose, horizontal_flip, shift
from pushforward.data.dataset import Batch, Dataset, Split
from pushforward.data.format import Format
from pushforward.errors import UserError
from pushforward.models.family import Family
from pushforward.numerics.random import Draws
from pushforward.training.recipe import Augment, Precision, Recipe
from pushforward.training.schedule import Constant, Cosine


def resolve(config: Config, data: Dataset) -> Config:
    """The configuration with everything that depends on the data filled in: network, σ_data, labels.

    What it returns describes the run completely; resolving it again changes nothing.
    """
    _check_augmentation(config.data, data.shape)
    model = families.resolve(config.model, data)
    model = model.model_copy(update={"conditional": model.conditional and bool(data.num_classes)})
    training = config.training
    if training.steps is None and training.minutes is None:
        training = training.model_copy(update={"steps": 6000})
    if training.learning_rate is None:
        rate = families.learning_rate(model, data.shape)
        training = training.model_copy(update={"learning_rate": rate})
    return config.model_copy(update={"model": model, "training": training})


def _check_augmentation(config: DataConfig, shape: Sequence[int]) -> None:
    for name in AUGMENTATIONS:
        if getattr(config, name) and len(shape) != 3:
            raise UserError(
                f"data.{name} varies images, and the items here have the shape {tuple(shape)}: leave it out"
            )


def build_model(
    config: ModelConfig, form: Format, network: nn.Module | None = None, seed: int = 0, items: Split | None = None
) -> Family:
    """The model that a resolved section describes for data of a form.

    Its weights are drawn from the seed; torch's own random state stays as it was. `network` is the user's own; `items`
    are the training items, of which some families begin.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU alone: that is the state which is put back
        return families.build(config, form, _classes(config, form), network, items)


def hollow_model(config: ModelConfig, form: Format) -> Family:
    """The model without its numbers, on the device "meta": it takes no memory. Raises UserError if it never could."""
    try:
        with torch.device("meta"):
            return families.build(config, form, _classes(config, form), None, None)
    except (RuntimeError, OverflowError) as error:
        raise UserError(f"the model is too large for any machine ({str(error).splitlines()[0][:100]})") from None


def _classes(config: ModelConfig, form: Format) -> int:
    """How many the model is told, 0 for none."""
    return (form.num_classes or 0) if config.conditional else 0


def build_recipe(config: TrainingConfig, data: DataConfig) -> Recipe:
    """The recipe that a section describes."""
    unknown = {"learning_rate"} if config.learning_rate is None else set()
    plain = config.model_dump(exclude={"schedule", "precision"} | unknown)
    schedule = Cosine() if config.schedule == "cosine" else Constant()
    return Recipe(**plain, schedule=schedule, precision=Precision(config.precision), augment=_augment(data))


def _augment(data: DataConfig) -> Augment | None:
    parts = [*([horizontal_flip] if data.flip else []), *([shift(data.shift)] if data.shift else [])]
    if not parts:
        return None
    change = compose(*parts)

    def augment(batch: Batch, draws: Draws) -> Batch:
        conditions = dict(batch.conditions)
        image = conditions.get("image")
        if image is not None:  # it is moved with the item, by the same draws
            if image.shape[2:] != batch.values.shape[2:]:
                raise UserError(
                    "data.flip and data.shift move items, and the image that they are told is of another size: leave "
                    "them out"
                )
            conditions["image"] = change(image, draws)
        return replace(batch, values=change(batch.values, draws), conditions=conditions)

    return augment


def parameters_of(config: ModelConfig, form: Format) -> int:
    """How many numbers a resolved model learns."""
    return sum(p.numel() for p in hollow_model(config, form).parameters())


def describe_model(config: ModelConfig, form: Format) -> str:
    """A resolved model in one line: its family, its size, what it is made of."""
    custom = isinstance(config, DiffusionConfig) and isinstance(config.network, CustomNetworkConfig)
    size = "" if custom else f" of {human_count(parameters_of(config, form))} parameters"
    labels = f", {form.num_classes} classes" if config.conditional and form.num_classes else ""
    return f"{config.family}{size}: {families.describe(config)}{labels}"


def human_count(number: int) -> str:
    """A count for people.

    >>> human_count(1_830_000)
    '1.83 M'
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
