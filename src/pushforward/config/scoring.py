"""What a run says of data: their likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.config.rows import rows_of
from pushforward.config.run import Run, weights_hash
from pushforward.data.dataset import Dataset
from pushforward.data.format import Kind
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.models.denoising import DiffusionGenerator, sampled_denoiser
from pushforward.models.discrete import BOUND_REPEATS, Discrete
from pushforward.models.family import HasDensity, Unnormalised
from pushforward.models.scoring import ByFlow, ByModel, Rule, Scores, Units, moments_of, score_rows
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
    model = run.generator.model.eval()
    x = rows.x.to(model.device)
    if isinstance(model, Discrete):
        _no_flow(evaluations, probes)
        bound = _bound(model, labels, repeats, block)
        if run.format.kind is Kind.TEXT:
            train = data.train.batch(np.arange(min(len(data.train), _MEASURED))).values
            return score_texts(bound, run.format, x, train, seed, batch_size, progress)
        return score_rows(bound, run.format, moments(run, data), x, seed=seed, batch_size=batch_size, progress=progress)
    if block is not None:
        raise UserError("blocks are of texts that discrete models learned: leave the block out")
    measured = moments(run, data)
    rule = _rule(run, data, measured, labels, evaluations, probes, batch_size, chains)
    return score_rows(
        rule, run.format, measured, x, repeats=repeats, seed=seed, batch_size=batch_size, progress=progress
    )


def _bound(model: Discrete, labels: Tensor | None, repeats: int | None, block: int | None) -> ByBound:
    """Without labels a model of symbols is told "no class", which it knows: a sum of noisy bounds is no bound."""
    return ByBound(
        model,
        None if labels is None else labels.to(model.device),
        BOUND_REPEATS if repeats is None else repeats,
        None if block is None else Blocks(block),
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
