"""A preview of restoration: what a model makes of images that were partly hidden or blurred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.data.dataset import Split
from pushforward.denoisers.denoiser import Denoiser
from pushforward.inverse.observation import Observation
from pushforward.inverse.operators import Blur, LinearOperator, Mask, gaussian_kernel
from pushforward.inverse.rules import PiGDM, isotropic_variance
from pushforward.models.denoising import DiffusionGenerator
from pushforward.numerics.random import Draws
from pushforward.samplers.default import default_sampler
from pushforward.samplers.multistep import Multistep, RenewedQuantity
from pushforward.samplers.step import simulate

_NOISE = 0.05
"""Standard deviation of the measurement noise, in model units: 2.5 % of the range of the pixels."""

_AT_ONCE = 1 << 16
"""Values of a batch whose gradients are taken together."""

_SOLVER = Multistep(2, RenewedQuantity())
"""Of second order in the reverse SDE: with approximate guidance its bias is about half of the probability flow's."""


@dataclass(frozen=True, eq=False)
class Restoration:
    """Items (N, …), their measurements, and draws (D, N, …) of what they may have been; model units.

    `hidden` marks the pixels (H, W) that were not measured; `plain` is the best guess without a model.
    """

    name: str
    truth: Tensor
    measured: Tensor
    draws: Tensor
    plain: Tensor
    hidden: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        return self.draws.mean(0)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of the draws per pixel: what the model is unsure of."""
        return self.draws.std(0)

    @property
    def error(self) -> float:
        """Root mean square error of the mean of the draws, over the hidden pixels where some are hidden."""
        return self._rms(self.mean - self.truth)

    @property
    def plain_error(self) -> float:
        return self._rms(self.plain - self.truth)

    @property
    def stated_error(self) -> float:
        """The error that the draws themselves announce: their spread, with that of a mean of D draws."""
        count = len(self.draws)
        return self._rms(self.deviation) * (1 + 1 / count) ** 0.5

    def _rms(self, x: Tensor) -> float:
        x = x if self.hidden is None else x[..., self.hidden]
        return float(x.double().square().mean().sqrt())


def restorations(
    generator: DiffusionGenerator, train: Split, test: Split, seed: int, steps: int = 25
) -> list[Restoration]:
    """Items of the test split, of as many labels as there are, half hidden, and blurred; both with a little noise.

    The model is asked without a label where it can be (a share of labels was left out in training), else with the true
    one.
    """
    large = max(generator.format.shape[1:]) > 32
    items, draws = (3, 4) if large else (5, 12)
    generator.model.eval()
    batch = test.batch(_varied(test)[:items])
    truth = batch.values.to(generator.model.device)
    labels = batch.labels if generator.model.num_classes and generator.model.label_dropout == 0 else None
    average = train.batch(range(min(len(train), 500))).values.mean(0).to(truth.device)
    made = []
    for name, operator, hidden in _problems(truth):
        noise = Draws.of(seed, range(len(truth)), "restoration", truth.device)
        seen = Observation.measure(operator, truth, _NOISE, noise)
        found = _draw(generator, labels, seen, draws, seed, steps)
        plain = seen.y if hidden is None else torch.where(hidden, average, seen.y)
        outside = None if hidden is None else hidden.cpu()
        made.append(Restoration(name, truth.cpu(), seen.y.cpu(), found.cpu(), plain.cpu(), outside))
    return made


def _varied(split: Split) -> np.ndarray:
    """The rows of a split, the first of each label before all others."""
    if split.labels is None:
        return np.arange(len(split))
    first = np.unique(split.labels, return_index=True)[1]
    return np.concatenate((first, np.setdiff1d(np.arange(len(split)), first)))


def _problems(truth: Tensor) -> Iterator[tuple[str, LinearOperator, Tensor | None]]:
    height, width = truth.shape[-2:]
    keep = torch.zeros(height, width, dtype=torch.bool, device=truth.device)
    keep[: (height + 1) // 2] = True
    if height > 1:
        yield "the lower half hidden", Mask(keep), ~keep
    blur = max(0.8, max(height, width) / 8)
    yield "blurred", Blur(gaussian_kernel(2 * int(2 * blur + 0.5) + 1, blur)), None


def _draw(
    generator: DiffusionGenerator, labels: Tensor | None, seen: Observation, count: int, seed: int, steps: int
) -> Tensor:
    """Draws (count, N, …) of the posterior, as many items at once as keep the gradients' memory small."""
    model, columns = generator.model, []
    law = isotropic_variance(model.prediction.sigma_data)
    levels = default_sampler(model.path, steps, model.prediction.sigma_data).grid(model.path, steps)
    together = max(1, _AT_ONCE // (count * seen.y[0].numel()))
    for items in torch.arange(len(seen.y)).split(together):
        label = None if labels is None else labels[items].repeat_interleave(count)
        prior: Denoiser = generator.conditioned(label)
        observation = Observation(seen.operator, seen.y[items].repeat_interleave(count, 0), seen.sigma)
        numbers = range(int(items[0]) * count, (int(items[-1]) + 1) * count)
        draws = Draws.of(seed, numbers, "restored", model.device)
        start = model.path.prior(draws.at("prior").normal(model.shape))
        with torch.no_grad():
            found = simulate(PiGDM(law)(prior, observation), _SOLVER, start, levels, draws)
        columns.append(found.unflatten(0, (len(items), count)).transpose(0, 1))
    return torch.cat(columns, 1)
