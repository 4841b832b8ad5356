"""Families trained on the same data with the same budget, one after the other, and scored alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushforward.config.build import hollow_model, parameters_of, resolve
from pushforward.config.datasets import data_config
from pushforward.config.family_schema import ModelConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.presets import GENERAL, USUAL, preset
from pushforward.config.read import read_config
from pushforward.config.run import Run, load_run
from pushforward.config.schema import Config
from pushforward.config.scoring import Chains, likelihood
from pushforward.config.training import train
from pushforward.data.dataset import Dataset
from pushforward.errors import UserError
from pushforward.models.family import Denoising, Unnormalised
from pushforward.networks.budget import width_for
from pushforward.report.contenders import (
    Contender,
    FamilyComparison,
    Likelihood,
    read_contender,
    write_json,
)
from pushforward.report.evaluation import evaluate_generator
from pushforward.training.memory import peak_memory, reset_peak_memory
from pushforward.training.observers import Observer

CONTENDER = "contender.json"
_EVALUATIONS = 50
"""Of a denoiser's network per item and cell, for its likelihood."""
_CHAINS = Chains(128, 100)
"""Of log Z of an energy model: fewer than `likelihood` takes, whose minutes a comparison would be long by."""
_SCORED, _CELLS = 500, 2
"""Test items whose likelihood is computed, and how often each is spread over its cells."""


@dataclass(frozen=True)
class Budget:
    """What every family is given: a length of training, and about a number of parameters (None: its own default)."""

    minutes: float | None = None
    steps: int | None = None
    parameters: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise UserError("a comparison gives every family the same minutes or the same steps: give one of the two")
        for what, length in (("minutes", self.minutes), ("steps", self.steps)):
            if length is not None and not 0 < length < math.inf:
                raise UserError(f"a training takes a positive number of {what}; got {length}")
        if self.parameters is not None and self.parameters < 100:
            raise UserError(f"a model has at least 100 parameters; got {self.parameters}")

    def __str__(self) -> str:
        length = f"{self.minutes:g} min of training" if self.minutes is not None else f"{self.steps} steps of training"
        return length if self.parameters is None else f"{length} and about {self.parameters:,} parameters each"


Tell = Callable[[str], None]


def compare(
    data: Dataset,
    out: Path,
    budget: Budget,
    *,
    families: Sequence[str] = GENERAL,
    seeds: Sequence[int] = (0, 1, 2),
    number: int | None = None,
    settings: Sequence[str] = (),
    device: str | None = None,
    observers: Callable[[], Sequence[Observer]] = tuple,
    tell: Tell = lambda words: None,
) -> FamilyComparison:
    """Train and score every family with every seed, in folders below `out`; what is there already is not done again.

    Args:
        budget: what each is given.
        number: samples that are scored; by default half of the training split, at most 1000.
        settings: `a.b=c` settings for all families, e.g. of `training`.
        observers: makes what watches each training.
        tell: called with a line before each part.

    Raises:
        UserError: an unknown family, or one given twice, no samples to score, data that a family cannot learn.
    """
    check_asked(families, seeds, number)
    found: list[Contender] = []
    for seed in seeds:  # all families with one seed first: a comparison that is broken off is still a fair one
        for family in families:
            place = out / f"{family}-{seed}"
            config = sized(configured(family, budget, seed, settings, device), data, budget.parameters)
            one = read_contender(place / CONTENDER)
            if one is None or not _is_of(one, config, data, number, place):
                tell(f"{family}, seed {seed}: {len(found) + 1} of {len(seeds) * len(families)}")
                one = _contend(config, data, place, number, observers())
                write_json(place / CONTENDER, one.to_dict())
            found.append(one)
    return FamilyComparison(data.name, str(budget), tuple(found))


def configured(
    family: str, budget: Budget, seed: int, settings: Sequence[str] = (), device: str | None = None
) -> Config:
    """The usual configuration of a family with the budget's length."""
    training = {"minutes": budget.minutes, "steps": budget.steps, "seed": seed, "device": device}
    layers: list[Mapping[str, Any]] = [preset(None, family), {"training": training}]
    return read_config(layers, settings)


def sized(config: Config, data: Dataset, parameters: int | None) -> Config:
    """Resolved, with the largest width of at most so many parameters. Raises UserError where none is small enough."""
    config = config.model_copy(update={"data": data_config(data, config.data)})  # so that its run finds its data
    config = resolve(config, data)
    if parameters is None:
        return config

    def of_width(width: int) -> Config:
        return config.model_copy(update={"model": widened(config.model, width)})

    # An autoencoder below a model of latents is learned before it, and counts like the rest.
    held = sum(p.numel() for p in hollow_model(config.model, data.format).parameters() if not p.requires_grad)
    return of_width(width_for(lambda width: hollow_model(of_width(width).model, data.format), parameters - held))


def widened(model: ModelConfig, width: int) -> ModelConfig:
    """A family's section with networks of this width; of a model of latents, that of the latents' model."""
    if isinstance(model, LatentConfig):
        return model.model_copy(update={"inner": widened(model.inner, width)})
    if isinstance(model, DiffusionConfig):
        return model.model_copy(update={"network": model.network.model_copy(update={"width": width})})
    return model.model_copy(update={"width": width})


def check_asked(families: Sequence[str], seeds: Sequence[int], number: int | None = None) -> None:
    """Refuse what cannot be compared, before anything is read or trained. Raises UserError."""
    for family in families:
        if family not in USUAL:
            raise UserError(f"there is no family {family!r}; choose from {', '.join(USUAL)}")
    for what, given in (("family", families), ("seed", seeds)):
        if not given:
            raise UserError(f"a comparison needs at least one {what}")
        twice = next((one for one in given if list(given).count(one) > 1), None)
        if twice is not None:
            raise UserError(f"the {what} {twice} was given twice")
    if number is not None and number < 1:
        raise UserError(f"the samples that are scored must be at least 1; got {number}")


def _is_of(one: Contender, config: Config, data: Dataset, number: int | None, place: Path) -> bool:
    """Whether what is stored was made by this configuration of these data and scored alike, and its run is there."""
    return one.config == _made_by(config, data, number) and place.is_dir()


def _made_by(config: Config, data: Dataset, number: int | None) -> dict[str, Any]:
    asked = {} if number is None else {"number": number}
    return {**config.model_dump(mode="json"), "fingerprint": data.fingerprint, **asked}


def _contend(
    config: Config, data: Dataset, place: Path, number: int | None, observers: Sequence[Observer]
) -> Contender:
    reset_peak_memory()
    outcome = train(config, data, place, observers=observers)
    run = load_run(place, device=config.training.device, outcome=outcome)
    evaluation = evaluate_generator(run.generator, data, n=number, seed=config.training.seed)
    found, missing = _likelihood(run, data)
    return Contender(
        config.model.family,
        config.training.seed,
        str(place),
        parameters_of(config.model, data.format),
        outcome.step,
        outcome.seconds,
        peak_memory(run.generator.model.device),
        evaluation,
        found,
        missing,
        _made_by(config, data, number),
    )


def _likelihood(run: Run, data: Dataset) -> tuple[Likelihood | None, str]:
    """What the model says of the test items, or why it says nothing."""
    model = run.generator.model
    evaluations = _EVALUATIONS if isinstance(model, Denoising) and not isinstance(model, Unnormalised) else None
    try:
        scores = likelihood(
            run, "test", number=_SCORED, evaluations=evaluations, repeats=_CELLS, data=data, chains=_CHAINS
        )
    except UserError as error:
        return None, str(error)
    counted = scores.bits_per_dim is not None
    return Likelihood(
        scores.mean,
        scores.error,
        scores.bits(scores.mean) if counted else None,
        scores.bits(scores.gaussian) if counted else scores.gaussian,
        f"{scores.method}; density of {scores.density}",
    ), ""
