"""What a report is about: one trained model, its data, its training and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pushforward.data.dataset import Dataset
from pushforward.data.format import Kind
from pushforward.models.generator import Generator, Samples
from pushforward.report.evaluation import GeneratorEvaluation, some_values, training_labels
from pushforward.report.tiles import Tiler

_SHOWN, _ROWS, _TEXTS = 64, 400, 8


@dataclass(frozen=True, eq=False)
class Subject:
    """A generator with everything that the sections of a report draw from.

    `description` is what is stored with a checkpoint, `log` the entries of the training log.
    """

    generator: Generator
    data: Dataset
    description: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    evaluation: GeneratorEvaluation
    run: str

    @cached_property
    def samples(self) -> Samples:
        """The samples that are looked at: the first of those that were scored."""
        e, count = self.evaluation, min(self._shown, self.evaluation.n)
        labels = training_labels(self.generator, self.data.train, e.n, e.seed)
        part = None if labels is None else labels[:count]
        return self.generator.sample(count, steps=e.steps, seed=e.seed, label=part, guidance=e.guidance)

    @cached_property
    def train_with_labels(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Training items in the user's own form, as many as fit in memory, and their classes."""
        return some_values(self.data.train)

    @property
    def train(self) -> np.ndarray:
        return self.train_with_labels[0]

    @cached_property
    def real(self) -> np.ndarray:
        """Items to be looked at: held-out images, and rows of whichever split has enough for a histogram."""
        enough = 1 if self.is_image else _ROWS
        split = self.data.test if len(self.data.test) >= enough else self.data.train
        return some_values(split, most=_SHOWN if self.is_image else _ROWS)[0]

    @property
    def _shown(self) -> int:
        """How many items are looked at."""
        return _TEXTS if self.data.format.kind is Kind.TEXT else _SHOWN if self.is_image else _ROWS

    @property
    def is_image(self) -> bool:
        return len(self.generator.format.shape) == 3

    @cached_property
    def tiler(self) -> Tiler:
        return Tiler(self.generator.format)

    def entry(self, *names: str, default: Any = None) -> Any:
        """A nested entry of the description; `default` where there is none."""
        found: Any = self.description
        for name in names:
            if not isinstance(found, Mapping) or name not in found:
                return default
            found = found[name]
        return found
