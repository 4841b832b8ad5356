"""Priors of tours by name: trained in a folder, read back, and asked for the tours of a user's cities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, ValidationError
from torch import nn

from pushforward.combinatorial.features import OF_CITIES
from pushforward.combinatorial.graph import GraphDiffusion
from pushforward.combinatorial.items import GraphItems, ImageItems, SolvedItems, solved_tours
from pushforward.combinatorial.raster import Raster
from pushforward.combinatorial.relaxed import RelaxedTours
from pushforward.combinatorial.tsp import TravellingSalesman, unit_square
from pushforward.config.sections import Channels, Layers, PositiveInt, Section
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.errors import UserError
from pushforward.models.diffusion import Diffusion
from pushforward.networks.graph import GraphNet
from pushforward.networks.unet import UNet
from pushforward.numerics.random import Draws
from pushforward.paths.processes import EDM
from pushforward.paths.times import LogNormalTimes, Stratified
from pushforward.training.checkpoint import load_weights
from pushforward.training.folder import find_checkpoint
from pushforward.training.loop import Outcome, fit
from pushforward.training.observers import Observer
from pushforward.training.recipe import Recipe
from pushforward.training.step import Items

SCHEMA = 1
"""The version of what is stored."""
_SIGMA_DATA = 0.45
"""The deviation of pictures of tours in [−1, 1]; what it is exactly depends on the number of cities."""
_VALIDATION = 256
"""Instances at most that are held out to choose the best weights."""


class TourConfig(Section):
    """What a prior of tours is, and what it learns from."""

    prior: Literal["graph", "image"] = Field("graph", description="edges by a graph network, or pictures by a U-Net")
    cities: Annotated[int, Field(ge=5, le=500)] = Field(20, description="of the tours that it learns")
    instances: PositiveInt = Field(2048, description="solved on the spot before the first step needs them")
    kicks: Annotated[int, Field(ge=0)] = Field(20, description="of the search that solves them")
    width: Channels = Field(32, description="of the network")
    depth: Layers = Field(5, description="layers of the graph network")
    pixels: Annotated[int, Field(ge=16, le=256)] = Field(32, description="of the pictures' side")
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 2e-3
    steps: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    seed: Annotated[int, Field(ge=0)] = 0


Progress = Callable[[int, np.ndarray], None]
"""(step, the heat (B, n, n) after it)."""


@dataclass(frozen=True, eq=False)
class TourPrior:
    """A trained prior: what it makes of cities anywhere in the plane."""

    config: TourConfig
    model: nn.Module

    def heat(self, problem: TravellingSalesman, draws: Draws, steps: int | None = None, repeats: int = 1) -> np.ndarray:
        """How likely each pair of cities is an edge: (B, n, n). `steps` and `repeats` are of the graph prior.

        Raises UserError for more cities than fit in memory, and for an image prior that is told steps or repeats.
        """
        inside = self._inside(problem)
        if isinstance(self.model, GraphDiffusion):
            return self.model.heat(inside, draws, USUAL_STEPS if steps is None else steps, repeats)
        if steps is not None or repeats != 1:
            raise UserError("an image prior has a descent of its own: steps and repeats are of the graph prior")
        return self._descended(inside, draws)

    def heats(self, problem: TravellingSalesman, draws: Draws) -> list[np.ndarray]:
        """Heats to decode one by one, the shortest tour of which is kept: six chains of a graph prior, one descent."""
        if self.config.prior == "image":
            return [self.heat(problem, draws)]
        return [self.heat(problem, draws.at("several", i), _CHAIN) for i in range(_CHAINS)]

    def states(self, problem: TravellingSalesman, draws: Draws, count: int = 5) -> list[tuple[int, np.ndarray]]:
        """(step, heat) at `count` moments on the way from noise to the answer."""
        inside, found = self._inside(problem), []
        if isinstance(self.model, GraphDiffusion):
            found = list(enumerate(self.model.trace(inside, draws, max(count, USUAL_STEPS)), 1))
        else:
            self._descended(inside, draws, lambda step, heat: found.append((step, heat)))
        at = np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))
        return [found[i] for i in at]

    def _inside(self, problem: TravellingSalesman) -> TravellingSalesman:
        n, kind = problem.sites[0], self.config.prior
        if n > _MOST[kind]:
            raise UserError(
                f"a {kind} prior is asked about {_MOST[kind]} cities at most, and there are {n}: search without a "
                "prior, or take a part of them"
            )
        return TravellingSalesman(unit_square(problem.cities))

    def _descended(self, inside: TravellingSalesman, draws: Draws, watch: Progress | None = None) -> np.ndarray:
        assert isinstance(self.model, Diffusion)
        self.model.requires_grad_(False)
        draws = Draws(draws.base.to(next(self.model.parameters()).device), draws.index)
        return RelaxedTours(_raster(self.config)).heat(self.model.denoiser(), inside, draws, watch=watch)


USUAL_STEPS = 5
"""Of the graph prior from noise to its heat."""
_CHAINS, _CHAIN = 6, 3
"""Chains of the graph prior and their steps: what was found best for its work (benchmarks/RESULTS.md)."""
_MOST = {"graph": 500, "image": 200}
"""Cities: all pairs are held in memory, as numbers of the network's width or as pictures."""


def tour_config(**entries: object) -> TourConfig:
    """The validated section; entries that are None are left out. Raises UserError naming the first that is wrong."""
    try:
        return TourConfig.model_validate({name: value for name, value in entries.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the settings"
        raise UserError(f"{name} is {first['input']!r}: {first['msg'].lower()}") from None


def build_prior(config: TourConfig) -> nn.Module:
    """The untrained model, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if config.prior == "graph":
            return GraphDiffusion(GraphNet(OF_CITIES, 2, 2, config.width, config.depth))
        network = UNet(1, config.width, (1, 2, 2), blocks=1)
        path, times = EDM(), Stratified(LogNormalTimes(-0.8, 1.4, _SIGMA_DATA))
        return Diffusion(network, path, EDMPrediction(_SIGMA_DATA), times, (1, config.pixels, config.pixels))


def tour_items(config: TourConfig, stream: str = "train", count: int | None = None) -> Items:
    """What the prior learns from: solved instances, made when they are first asked for."""
    solved = SolvedItems(solved_tours(config.cities, config.kicks), count or config.instances, config.seed, stream)
    return GraphItems(solved) if config.prior == "graph" else ImageItems(solved, _raster(config))


def train_tours(
    config: TourConfig, out: Path | str, observers: Sequence[Observer] = (), *, restart: bool = False
) -> Outcome:
    """Train a prior of tours in a folder; an interrupted run there is continued. Raises what `fit` raises."""
    if config.steps is None and config.minutes is None:
        config = config.model_copy(update={"steps": 4000})
    recipe = Recipe(
        batch_size=config.batch_size,
        steps=config.steps,
        minutes=config.minutes,
        learning_rate=config.learning_rate,
        seed=config.seed,
        save_seconds=60.0,
    )
    description = {"schema": SCHEMA, "tours": config.model_dump(mode="json")}
    what = config.model_dump(mode="json", exclude={"steps", "minutes"})
    parts = tour_items(config), tour_items(config, "validation", min(_VALIDATION, config.instances))
    return fit(
        build_prior(config), *parts, recipe, out, description, identity=what, observers=observers, restart=restart
    )


def load_tours(path: Path | str, which: str = "best", device: str | None = None) -> TourPrior:
    """Read a prior of tours. Raises UserError where there is none, or one of a later version."""
    checkpoint = find_checkpoint(path, which)
    stored = checkpoint.config
    if "tours" not in stored:
        raise UserError(f"{path} is no prior of tours: train one by `pushforward tsp train`")
    if stored.get("schema") != SCHEMA:
        raise UserError(f"{path} was written by a later version of pushforward: update it")
    config = tour_config(**stored["tours"])
    model = build_prior(config)
    load_weights(model, checkpoint)
    return TourPrior(config, model.to(device or "cpu").eval())


def _raster(config: TourConfig) -> Raster:
    return Raster(config.pixels)
