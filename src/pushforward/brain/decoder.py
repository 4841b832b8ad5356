"""The decoder of one brain: two ridge maps and how they err, all of it learned within the training trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pushforward.brain.components import Components
from pushforward.brain.measured import Measured
from pushforward.brain.prior import Prior, check_stimuli
from pushforward.brain.ridge import PENALTIES, Ridge, fit_ridge
from pushforward.brain.trials import Trials
from pushforward.errors import UserError


@dataclass(frozen=True, eq=False)
class Told:
    """From the voxels of a condition's regions to a real condition of the prior, of `shape`."""

    ridge: Ridge
    shape: tuple[int, ...]

    def __call__(self, voxels: np.ndarray) -> Tensor:
        """Of trials (m, p) of those voxels: float32 (m, *shape)."""
        return self._shaped(self.ridge(voxels))

    @property
    def held_out(self) -> Tensor:
        """Of the training trials, each by a map that did not see its stimulus."""
        return self._shaped(self.ridge.held_out)

    def _shaped(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float().reshape(len(values), *self.shape)


@dataclass(frozen=True, eq=False)
class Decoder:
    """From voxels to the components of the latent, and to the class and other conditions where the prior takes some.

    `for_latent` and `for_condition` mark the voxels that each map sees; `truth` (n, k) are the components of the
    training stimuli, beside which `latent.held_out` stands; `told` are maps to real conditions, by name.
    """

    components: Components
    latent: Ridge
    measured: Measured
    for_latent: np.ndarray
    truth: np.ndarray
    condition: Ridge | None = None
    for_condition: np.ndarray | None = None
    told: Mapping[str, Told] = field(default_factory=dict)

    @property
    def conditional(self) -> bool:
        """Whether anything beside the latent is decoded."""
        return self.condition is not None or bool(self.told)

    def components_of(self, voxels: np.ndarray) -> np.ndarray:
        """What ridge says of the components: (m, k)."""
        return self.latent(voxels[:, self.for_latent])

    def guess(self, voxels: np.ndarray) -> Tensor:
        """What ridge alone says of the latent: (m, *latent)."""
        return self.components.decode(self.components_of(voxels))

    def classes(self, voxels: np.ndarray) -> Tensor | None:
        """The likeliest class of each trial (m,), None where no condition is decoded."""
        if self.condition is None or self.for_condition is None:
            return None
        return torch.from_numpy(self.condition(voxels[:, self.for_condition]).argmax(1))

    def held_out_classes(self) -> Tensor | None:
        """The same of the training trials, each by a map that did not see its stimulus."""
        return None if self.condition is None else torch.from_numpy(self.condition.held_out.argmax(1))

    def conditions(self, voxels: np.ndarray) -> dict[str, Tensor]:
        """The real conditions of each trial by name, (m, …) each."""
        return {name: told(voxels[:, self.for_condition]) for name, told in self.told.items()}

    def held_out_conditions(self) -> dict[str, Tensor]:
        """The same of the training trials, each by a map that did not see its stimulus."""
        return {name: told.held_out for name, told in self.told.items()}


def fit_decoder(
    prior: Prior,
    components: Components,
    trials: Trials,
    *,
    for_latent: np.ndarray | None = None,
    for_condition: np.ndarray | None = None,
    penalties: tuple[float, ...] = PENALTIES,
    progress: Callable[[str], None] | None = None,
) -> Decoder:
    """Fit all maps on training trials alone: to the latent, and to what trials say of the stimulus and the prior takes.

    Voxels are standardised, penalties chosen and errors measured by leaving stimuli out (`fit_ridge`). Raises
    UserError for stimuli that are not of the prior's form, and for labels and conditions that it does not know.
    """
    every = np.ones(trials.voxels.shape[1], dtype=bool)
    for_latent = every if for_latent is None else for_latent
    for_condition = every if for_condition is None else for_condition
    stimuli = check_stimuli(trials.stimuli, prior.form, f"the stimuli of {trials.what}")
    truth, groups = components.encode(prior.latents(stimuli)), trials.groups
    if progress:
        progress(f"ridge from {int(for_latent.sum())} voxels to {len(components)} components of the latent")
    latent = fit_ridge(trials.voxels[:, for_latent], truth, groups, penalties=penalties)
    decoder = Decoder(components, latent, Measured.of(latent.held_out, truth), for_latent, truth)
    decoder = replace(decoder, for_condition=for_condition) if trials.conditions else decoder
    told = {}
    for name, values in trials.conditions.items():
        prior.check_told(name, values)
        if progress:
            progress(
                f"ridge from {int(for_condition.sum())} voxels to the {name} of the stimulus, {values[0].size} numbers"
            )
        flat = values.reshape(len(values), -1)
        told[name] = Told(
            fit_ridge(trials.voxels[:, for_condition], flat, groups, penalties=penalties), values.shape[1:]
        )
    decoder = replace(decoder, told=told)
    if trials.labels is None or not prior.classes:
        return decoder
    if progress:
        progress(f"ridge from {int(for_condition.sum())} voxels to the class of the stimulus")
    chosen = one_hot(trials.labels, prior.classes)
    condition = fit_ridge(trials.voxels[:, for_condition], chosen, groups, penalties=penalties)
    return replace(decoder, condition=condition, for_condition=for_condition)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Classes (n,) as rows of zeros and a one, float64 (n, classes)."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"labels are the numbers of classes, 0 … {classes - 1}, one to each trial")
    return np.eye(classes)[labels]
