"""The decoder of one brain: two ridge maps and how they err, all of it learned within the training trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
class Decoder:
    """From voxels to the components of the latent, and to the class where the prior takes one.

    `for_latent` and `for_condition` mark the voxels that each map sees; `truth` (n, k) are the components of the
    training stimuli, beside which `latent.held_out` stands; `labels` (n,) the classes that they show.
    """

    components: Components
    latent: Ridge
    measured: Measured
    for_latent: np.ndarray
    truth: np.ndarray
    condition: Ridge | None = None
    for_condition: np.ndarray | None = None

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
    """Fit both maps on training trials alone; the condition is the class of the stimulus, where trials have one.

    Voxels are standardised, penalties chosen and errors measured by leaving stimuli out (`fit_ridge`). Raises
    UserError for stimuli that are not of the prior's form, and for labels that it does not know.
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
