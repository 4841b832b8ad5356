"""The latents that a run has for data, and what lies between two items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.config.rows import Rows, rows_of
from pushforward.config.run import Run
from pushforward.config.scoring import labels_for, moments
from pushforward.data.dataset import Dataset
from pushforward.errors import UserError
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.family import HasLatents
from pushforward.models.generator import Samples
from pushforward.models.likelihood import ProbabilityFlow, spherical
from pushforward.models.scoring import solver_of


def encode(
    run: Run,
    source: str | Path = "test",
    *,
    number: int | None = None,
    label: str | None = None,
    evaluations: int | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, Rows]:
    """Latents (N, …) and the items that they are of: of a denoiser's probability flow, or of a flow, standard normal
    where the data is the model's; of an autoencoder the middle of q(z | x), or its codes, whole numbers.

    `evaluations` of a denoiser's network, 100 by default; `progress` is called with (done, total). Raises UserError for
    a family without latents.
    """
    data = run.data()
    rows = rows_of(run, source, number, data)
    code, parts = _coder(run, data, label, evaluations), []
    with torch.no_grad():
        for index in torch.arange(len(rows)).split(batch_size):
            part = rows.at(index)
            parts.append(code(part).encode(part.x.to(run.generator.model.device)).cpu())
            if progress:
                progress(int(index[-1]) + 1, len(rows))
    return torch.cat(parts).numpy(), rows


def interpolate(
    run: Run,
    source: str | Path = "test",
    *,
    items: Sequence[int] = (0, 1),
    steps: int = 8,
    label: str | None = None,
    evaluations: int | None = None,
) -> Samples:
    """`steps` samples from one item to another, along the arc between their latents, both ends among them.

    Raises UserError for fewer than two steps, and for items that are not two different ones of the data.
    """
    if steps < 2:
        raise UserError(f"from one item to another takes at least 2 steps; got {steps}")
    if len(items) != 2 or items[0] == items[1]:
        raise UserError(f"give two different items, such as 0,1; got {', '.join(map(str, items)) or 'none'}")
    data = run.data()
    rows = rows_of(run, source, None, data)
    for item in items:
        if not 0 <= item < len(rows):
            raise UserError(f"there is no item {item}: {source} has items 0 … {len(rows) - 1}")
    ends, code = rows.at(torch.tensor(items)), _coder(run, data, label, evaluations)
    with torch.no_grad():
        z = code(ends).encode(ends.x.to(run.generator.model.device))
        if not z.is_floating_point():
            raise UserError("the latents of this model are codes, and there is no way from one code to another")
        way = torch.cat([spherical(z[:1], z[1:], share) for share in np.linspace(0, 1, steps).tolist()])
        between = Rows(way, None if ends.labels is None else _nearer(ends.labels, steps))
        found = code(between).decode(way)
    return Samples(run.format.decode(found.cpu()), None, run.format)


class _Code(Protocol):
    """Latents of items and back, for a batch whose conditions are bound."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class _Bound:
    """A family's own latents, for items of these classes."""

    model: HasLatents
    labels: Tensor | None

    def encode(self, x: Tensor) -> Tensor:
        return self.model.encode(x, self.labels)

    def decode(self, z: Tensor) -> Tensor:
        return self.model.decode(z, self.labels)


def _coder(run: Run, data: Dataset, label: str | None, evaluations: int | None) -> Callable[[Rows], _Code]:
    """For a batch of items the latents of a run's model: the probability flow's for a denoiser, else the family's own.

    A family that knows classes and no "no class" is given each item's own where no label is asked for.
    """
    model = run.generator.model.eval()
    if isinstance(run.generator, DiffusionGenerator) or not isinstance(model, HasLatents):
        generator = run.denoising("a latent")
        known, solver = moments(run, data), solver_of(100 if evaluations is None else evaluations)
        return lambda rows: ProbabilityFlow(generator.conditioned(labels_for(run, len(rows), label)), known, solver)
    if evaluations is not None:
        raise UserError("evaluations are of a probability flow, which this model has not: leave them out")

    def bound(rows: Rows) -> _Bound:
        own = bool(model.num_classes) and label is None
        labels = labels_for(run, len(rows), label, rows.labels if own else None, own)
        return _Bound(model, None if labels is None else labels.to(model.device))

    return bound


def _nearer(labels: Tensor, steps: int) -> Tensor:
    """The class of the nearer of two ends, at every step of the way."""
    return torch.where(torch.linspace(0, 1, steps) < 0.5, labels[0], labels[1])
