"""A trained model together with the form of the user's data: what `pf.load` and `pf.fit` return."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.save import save_samples
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.guidance import guided
from pushforward.denoisers.variance import VarianceTable, WithVariance
from pushforward.errors import UserError
from pushforward.models.diffusion import Diffusion
from pushforward.numerics.random import Draws
from pushforward.samplers.default import Sampling, default_sampler
from pushforward.samplers.step import Observer
from pushforward.samplers.tuned import Tuned

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
    """A diffusion model that speaks the user's form of data.

    `variance` is Var[x_0 | x_t] as estimated on its data, for the samplers that use it (Analytic-DPM); `tuned` are the
    samplers fitted to it, by evaluations.
    """

    model: Diffusion
    format: Format
    variance: VarianceTable | None = None
    tuned: Mapping[int, Tuned] = field(default_factory=dict)

    def sample(
        self,
        n: int,
        *,
        steps: int = 20,
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
            steps: evaluations of the network per sample, as near as the sampler's rule comes to it.
            seed, first: sample i of a seed is the same in any batch; they are numbered from `first`.
            label: a class by name or index for all, one per sample, or None: of a conditional model, all in turn.
            guidance: weight w of classifier-free guidance; 1 is none.
            sampler: another than the usual, which needs no choice.
            batch_size: samples computed at once.
            progress: called with (done, total) after each batch.

        Raises:
            UserError: n, steps or batch_size no whole number of at least 1, no sampler, or an unknown label.
        """
        _check(n, steps, batch_size, guidance)
        if sampler is not None and not callable(getattr(sampler, "sample", None)):
            raise UserError(f"a sampler is an object such as Sampler(DDIM, Uniform()); got {sampler!r}")
        labels = self.label_indices(label, n)
        parts = []
        for start in range(0, n, batch_size):
            stop = min(start + batch_size, n)
            part = None if labels is None else labels[start:stop]
            draws = Draws.of(seed, range(first + start, first + stop), device=self.model.device)
            parts.append(self.sample_model_units(draws, part, steps, guidance, sampler).cpu())
            if progress:
                progress(stop, n)
        return Samples(self.format.decode(torch.cat(parts)), None if labels is None else labels.numpy(), self.format)

    @torch.inference_mode()
    def sample_model_units(
        self,
        draws: Draws,
        labels: Tensor | None,
        steps: int,
        guidance: float = 1.0,
        sampler: Sampling | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """One batch of samples in model units: (len(draws), *shape)."""
        self.model.eval()
        sampler = sampler or self.usual_sampler(steps, guidance)
        start = self.model.path.prior(draws.at("prior").normal(self.model.shape))
        denoiser = self.conditioned(labels, guidance)
        if self.variance is not None:
            denoiser = WithVariance(denoiser, self.variance)
        return sampler.sample(denoiser, start, steps, draws, observe=observe)

    def usual_sampler(self, steps: int, guidance: float = 1.0) -> Sampling:
        """The one tuned to this model at so many evaluations, where there is one and no guidance; else the default."""
        if steps in self.tuned and guidance == 1.0:
            return self.tuned[steps].whole()
        return default_sampler(self.model.path, steps, self.model.prediction.sigma_data)

    def conditioned(self, labels: Tensor | None, guidance: float = 1.0) -> Denoiser:
        """The Denoiser for labels (B,), guided with weight w. Raises UserError where guidance has no condition."""
        device = self.model.device
        bound = self.model.conditioned(None if labels is None else labels.to(device))
        if guidance == 1.0:
            return bound
        if labels is None:
            raise UserError("guidance needs a label to be guided to; this model has none or none was given")
        nothing = torch.full_like(labels, self.model.num_classes).to(device)
        return guided(bound, self.model.conditioned(nothing), guidance)

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


def _check(n: int, steps: int, batch_size: int, guidance: float) -> None:
    for name, value in (("number of samples", n), ("number of steps", steps), ("batch size", batch_size)):
        if value < 1:
            raise UserError(f"the {name} must be at least 1; got {value}")
        if value != int(value):
            raise UserError(f"the {name} must be a whole number; got {value}")
    if not math.isfinite(guidance):
        raise UserError(f"the weight of guidance must be a finite number, 1 for none; got {guidance}")
