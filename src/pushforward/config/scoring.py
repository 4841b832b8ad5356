"""What a run says of data: likelihoods, latents, and what lies between two items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.config.rows import Rows, rows_of
from pushforward.config.run import Run, weights_hash
from pushforward.data.dataset import Dataset
from pushforward.data.format import Kind
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.models.denoising import DiffusionGenerator, sampled_denoiser
from pushforward.models.discrete import BOUND_REPEATS, Discrete
from pushforward.models.family import HasDensity, HasLatents, Unnormalised
from pushforward.models.generator import Samples
from pushforward.models.likelihood import ProbabilityFlow, spherical
from pushforward.models.scoring import (
    ByFlow,
    ByModel,
    Rule,
    Scores,
    Units,
    moments_of,
    score_rows,
    solver_of,
)
from pushforward.models.symbol_scores import ByBound, score_texts
from pushforward.numerics.random import Draws
from pushforward.objectives.masked import Blocks
from pushforward.training.normalisers import read_log_z, write_log_z


@dataclass(frozen=True)
class Chains:
    """How log Z of an energy model is estimated: by how many annealed chains, on how many rungs."""

    chains: int = 512
    rungs: int = 300


_CHAINS = Chains()
_MEASURED = 10_000
"""Items of the training split on which mean and covariance are measured."""


def likelihood(
    run: Run,
    source: str | Path = "test",
    *,
    number: int | None = None,
    label: str | None = None,
    own_labels: bool = False,
    evaluations: int | None = None,
    probes: int | None = None,
    repeats: int | None = None,
    block: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    data: Dataset | None = None,
    chains: Chains = _CHAINS,
) -> Scores:
    """log p of the items of a split or file, in the user's units: by the probability flow of a denoiser, else as the
    run's model tells it.

    Args:
        source: `test`, `validation`, `train`, or a file or folder of the same form.
        number: the first so many items, all by default.
        label, own_labels: log p(x | this class), or each item given its own class; log p(x) by default.
        evaluations: of a denoiser's network per item, 100 by default (exact divergences: and one derivative per
            coordinate).
        probes: random ones for the divergence; by default none up to 32 coordinates.
        repeats: uniform draws within the cells of whole numbers, 4 by default, each with probes of its own; of models
            of symbols, random times or numbers of hidden symbols, 16 by default.
        block: of texts, how many symbols are decoded at once, left to right; all by default.
        data: what the run was trained on, where it cannot read that again by itself.
        chains: that log Z of an energy model is estimated with, unless what is stored with the run has as many.

    Raises:
        UserError: data that does not fit the model, a label that it lacks, counts below 1, a model without a density.
    """
    data = data or run.data()
    rows = rows_of(run, source, number, data)
    labels = labels_for(run, len(rows), label, rows.labels if own_labels else None, own_labels)
    model = run.generator.model
    x = rows.x.to(model.device)
    if isinstance(model, Discrete):
        _no_flow(evaluations, probes)
        # without labels it is told "no class", which it knows: a sum of noisy bounds over classes is no bound
        given = None if labels is None else labels.to(model.device)
        blocks = None if block is None else Blocks(block)
        bound = ByBound(model.eval(), given, BOUND_REPEATS if repeats is None else repeats, blocks)
        if run.format.kind is Kind.TEXT:
            train = data.train.batch(np.arange(min(len(data.train), _MEASURED))).values
            return score_texts(bound, run.format, x, train, seed, batch_size, progress)
        return score_rows(bound, run.format, moments(run, data), x, seed=seed, batch_size=batch_size, progress=progress)
    if block is not None:
        raise UserError("blocks are of texts that discrete models learned: leave the block out")
    measured = moments(run, data)
    return score_rows(
        _rule(run, data, measured, labels, evaluations, probes, batch_size, chains),
        run.format,
        measured,
        x,
        repeats=repeats,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )


def _no_flow(evaluations: int | None, probes: int | None) -> None:
    """Raises UserError for what is of a probability flow alone."""
    if evaluations is not None or probes is not None:
        raise UserError("evaluations and probes are of a probability flow, which this model has not: leave them out")


def _rule(
    run: Run,
    data: Dataset,
    measured: Moments,
    labels: Tensor | None,
    evaluations: int | None,
    probes: int | None,
    batch_size: int,
    chains: Chains,
) -> Rule:
    generator = run.generator
    generator.model.eval()
    moved = sampled_denoiser(generator)
    if moved is not None and moved.conditions:
        raise UserError(f"a likelihood given {', '.join(moved.conditions)} is not told here: leave `given` out")
    if isinstance(generator, DiffusionGenerator) and not isinstance(generator.model, Unnormalised):
        return ByFlow(
            generator.conditioned(labels), measured, 100 if evaluations is None else evaluations, probes, batch_size
        )
    _no_flow(evaluations, probes)
    if not isinstance(generator.model, HasDensity):
        raise UserError(
            f"a model of this kind ({type(generator.model).__name__}) has no likelihood: it only draws samples; "
            "`evaluate` scores those"
        )
    if isinstance(generator.model, Unnormalised):
        _normalise(run, generator.model, [None] if labels is None else sorted(set(labels.tolist())), chains)
        return ByModel(generator.model, None if labels is None else labels.to(generator.model.device))
    if labels is not None:
        return ByModel(generator.model, labels.to(generator.model.device))
    return ByModel(generator.model, None, _shares(data, generator.model.num_classes))


def _normalise(run: Run, model: Unnormalised, labels: Sequence[int | None], chains: Chains) -> None:
    """Let the model know log Z for these labels: as it is stored with the run, else estimated now and stored."""
    of_weights = weights_hash(run.checkpoint, run.weights)
    stored = read_log_z(run.home, of_weights)
    draws = Draws.of(0, range(chains.chains), "log z", run.generator.model.device)
    for label in labels:
        if label in stored and stored[label].chains >= chains.chains:
            model.keep_log_z(label, stored[label])
        else:
            stored[label] = model.estimate_log_z(draws, label, rungs=chains.rungs)
            write_log_z(run.home, of_weights, stored)


def _shares(data: Dataset, classes: int) -> Tensor | None:
    """How often each class is met in training, never 0: (classes,); None for a model without."""
    if not classes or data.train.labels is None:
        return None
    counts = torch.from_numpy(np.bincount(data.train.labels, minlength=classes)).double() + 0.5
    return counts / counts.sum()


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


def moments(run: Run, data: Dataset) -> Moments:
    """Mean and covariance of the training split in model units."""
    count = len(data.train)
    rows = np.arange(count) if count <= _MEASURED else np.linspace(0, count - 1, _MEASURED).astype(int)
    return moments_of(data.train.batch(rows).values, Units.of(run.format))


def labels_for(
    run: Run, count: int, label: str | None = None, own: Tensor | None = None, own_labels: bool = False
) -> Tensor | None:
    """One class for all items, each item's own, or none: (count,). Raises UserError for what the model lacks."""
    if label is not None and own_labels:
        raise UserError("give one label for all, or ask for each item's own, not both")
    if label is not None:
        return run.generator.label_indices(label, count)
    if not own_labels:
        return None
    if not run.generator.model.num_classes:
        raise UserError("the model was trained without labels, so it cannot be asked for p(x given label)")
    if own is None:
        raise UserError("the data has no labels; leave out what asks for each item's own")
    return own


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
