"""A trained model together with the form of the user's data: what `pf.load` and `pf.fit` return."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.save import save_samples
from pushforward.errors import UserError
from pushforward.models.family import Family
from pushforward.numerics.random import Draws
from pushforward.samplers.default import Sampling

Label = int | str | Sequence[int | str] | None


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in the user's own form: values (N, …) in the data's dtype, labels int64 (N,) or None."""

    values: np.ndarray
    labels: np.ndarray | None
    format: Format

    def __len__(self) -> int:
        return len(self.values)

    def save(self, path: str | Path) -> Path:
        """Write them by the name: a grid .png, a folder of images, .npz, .npy, .csv or .parquet; atomically."""
        return save_samples(self.values, self.labels, self.format, path)


@dataclass(frozen=True, eq=False)
class Generator:
    """A model of any family that speaks the user's form of data; see `DiffusionGenerator` for what denoisers can do."""

    model: Family
    format: Format

    def sample(
        self,
        n: int,
        *,
        steps: int | None = None,
        seed: int = 0,
        label: Label = None,
        guidance: float = 1.0,
        sampler: Sampling | None = None,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
        first: int = 0,
    ) -> Samples:
        """Draw n samples in the user's form.

        Args:
            n: how many.
            steps: evaluations of a denoiser's network per sample, as near as the sampler's rule comes to it; 20 unless
                given. Families that draw at once have none.
            seed, first: sample i of a seed is the same in any batch; they are numbered from `first`.
            label: a class by name or index for all, one per sample, or None: of a conditional model, all in turn.
            guidance: weight w of classifier-free guidance of a denoiser; 1 is none.
            sampler: of a denoiser, another than the usual, which needs no choice.
            batch_size: samples computed at once.
            progress: called with (done, total) after each batch.

        Raises:
            UserError: n, steps or batch_size no whole number of at least 1, no sampler, an unknown label, or steps,
                guidance or a sampler for a family that draws at once.
        """
        check_counts(n, steps, batch_size)
        self.check_way(steps, guidance, sampler)
        labels = self.label_indices(label, n)
        parts = []
        for start in range(0, n, batch_size):
            stop = min(start + batch_size, n)
            part = None if labels is None else labels[start:stop].to(self.model.device)
            draws = Draws.of(seed, range(first + start, first + stop), device=self.model.device)
            parts.append(self.draw(draws, part, steps, guidance, sampler).cpu())
            if progress:
                progress(stop, n)
        return Samples(self.format.decode(torch.cat(parts)), None if labels is None else labels.numpy(), self.format)

    def check_way(self, steps: int | None, guidance: float, sampler: Sampling | None) -> None:
        """Raises UserError for a way of sampling that this model does not have."""
        if steps is not None or guidance != 1.0 or sampler is not None:
            given = "steps" if steps is not None else "a sampler" if sampler is not None else "guidance"
            raise UserError(
                f"a model of this kind ({type(self.model).__name__}) draws by a rule of its own, and {given} was "
                "given: leave it out; diffusion models take steps, samplers and guidance"
            )

    @torch.no_grad()
    def draw(
        self,
        draws: Draws,
        labels: Tensor | None,
        steps: int | None = None,
        guidance: float = 1.0,
        sampler: Sampling | None = None,
    ) -> Tensor:
        """One batch of samples in model units: (len(draws), *shape)."""
        self.model.eval()
        return self.model.draw(draws, labels)

    def label_indices(self, label: Label, n: int) -> Tensor | None:
        """Class indices (n,) for a label, for one per sample, or all classes in turn. Raises UserError if unknown."""
        classes = self.model.num_classes
        if label is None:
            return torch.arange(n) % classes if classes else None
        if not classes:
            raise UserError("the model was trained without labels, so it cannot be asked for one")
        given = [label] * n if isinstance(label, (int, str)) else list(label)
        if len(given) != n:
            raise UserError(f"there are {len(given)} labels for {n} samples; give one, or one per sample")
        return torch.tensor([self._label_index(value) for value in given])

    def _label_index(self, label: int | str) -> int:
        names = self.format.label_names or tuple(str(i) for i in range(self.model.num_classes))
        if str(label) in names:
            return names.index(str(label))
        if isinstance(label, int) and 0 <= label < len(names):
            return label
        raise UserError(f"the model has no label {label!r}; it was trained with {', '.join(names[:20])}")


def check_counts(n: int, steps: int | None, batch_size: int = 1) -> None:
    """Raises UserError for numbers that are no whole ones of at least 1."""
    for name, value in (("number of samples", n), ("number of steps", steps), ("batch size", batch_size)):
        if value is None:
            continue
        if not isinstance(value, numbers.Real):
            raise UserError(f"the {name} must be a whole number; got {value!r}")
        if value < 1:
            raise UserError(f"the {name} must be at least 1; got {value}")
        if value != int(value):
            raise UserError(f"the {name} must be a whole number; got {value}")
