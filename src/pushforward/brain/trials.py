"""Trials: what the voxels answered to which stimulus, and the two sets that must never meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from pushforward.errors import UserError


@dataclass(frozen=True, eq=False)
class Trials:
    """Responses `voxels` float64 (n, p) to `stimuli` (n, …) in the user's own form, with `labels` int64 (n,) or None.

    `conditions` are what else is known of each stimulus, by the name under which the prior is told it: real vectors
    (n, d), or tokens (n, L, d), such as embeddings of captions. Raises UserError for numbers of trials that do not
    match and for voxels and conditions that are not finite.
    """

    voxels: np.ndarray
    stimuli: np.ndarray
    labels: np.ndarray | None = None
    what: str = "the trials"
    conditions: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        if voxels.ndim != 2 or not len(voxels) or voxels.dtype.kind not in "biuf":
            raise UserError(
                f"the voxels of {self.what} are numbers (trials, voxels); got {voxels.dtype} of shape {voxels.shape}"
            )
        conditions = {name: np.asarray(values) for name, values in self.conditions.items()}
        for name, values in (("stimuli", self.stimuli), ("labels", self.labels), *conditions.items()):
            if values is not None and len(values) != len(voxels):
                raise UserError(
                    f"{self.what} have {len(voxels)} rows of voxels and {len(values)} {name}: give one to each trial"
                )
        voxels = voxels.astype(np.float64)
        if not np.isfinite(voxels).all():
            trial, voxel = np.argwhere(~np.isfinite(voxels))[0]
            count = int((~np.isfinite(voxels)).any(0).sum())
            raise UserError(
                f"voxel {voxel} of trial {trial} of {self.what} is {voxels[trial, voxel]} ({count} voxels have such "
                "numbers): leave those voxels out, of training and test trials alike"
            )
        for name, values in conditions.items():
            if values.ndim < 2 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
                raise UserError(
                    f"the condition {name!r} of {self.what} is finite numbers (trials, …), such as vectors; got "
                    f"{values.dtype} of shape {values.shape}"
                )
        object.__setattr__(self, "voxels", voxels)
        object.__setattr__(self, "conditions", conditions)

    def __len__(self) -> int:
        return len(self.voxels)

    @property
    def groups(self) -> np.ndarray:
        """The number of each trial's stimulus, int64 (n,): trials of one picture share it, in order of appearance."""
        flat = np.ascontiguousarray(self.stimuli).reshape(len(self), -1)
        names = [blake2b(row.tobytes(), digest_size=16).digest() for row in flat]
        known: dict[bytes, int] = {}
        return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)

    def take(self, rows: np.ndarray | Sequence[int]) -> Trials:
        """Some of the trials."""
        return replace(self, voxels=self.voxels[rows], **self.shown(rows))

    def shown(self, rows: np.ndarray | Sequence[int]) -> dict[str, Any]:
        """What these trials showed: the stimuli, and all that is known of them, as fields of `Trials`."""
        labels = None if self.labels is None else self.labels[rows]
        conditions = {name: values[rows] for name, values in self.conditions.items()}
        return {"stimuli": self.stimuli[rows], "labels": labels, "conditions": conditions}

    def averaged(self) -> Trials:
        """One trial per stimulus: the mean of its responses, which has less noise."""
        groups = self.groups
        first = np.unique(groups, return_index=True)[1]
        counts = np.bincount(groups)[:, None]
        total = np.zeros((len(first), self.voxels.shape[1]))
        np.add.at(total, groups, self.voxels)
        return replace(self.take(first), voxels=total / counts)


@dataclass(frozen=True, eq=False)
class Recording:
    """Trials to learn from and trials to be tested on, and the regions of the voxels: name -> bool (p,)."""

    train: Trials
    test: Trials
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width = self.train.voxels.shape[1]
        if self.test.voxels.shape[1] != width:
            raise UserError(
                f"training trials have {width} voxels and test trials {self.test.voxels.shape[1]}: give the same "
                "voxels in the same order"
            )
        if self.train.stimuli.shape[1:] != self.test.stimuli.shape[1:]:
            raise UserError(
                f"training stimuli have the shape {self.train.stimuli.shape[1:]} and test stimuli "
                f"{self.test.stimuli.shape[1:]}"
            )
        for name, mask in self.regions.items():
            if mask.shape != (width,) or not mask.any():
                raise UserError(f"the region {name!r} must mark some of the {width} voxels; got shape {mask.shape}")

    @property
    def shared(self) -> int:
        """How many test trials show a picture that a training trial shows: those are not held out."""
        seen = {row.tobytes() for row in np.ascontiguousarray(self.train.stimuli)}
        return sum(row.tobytes() in seen for row in np.ascontiguousarray(self.test.stimuli))

    def voxels_of(self, names: Sequence[str] | None) -> np.ndarray:
        """The voxels of these regions together, bool (p,); all where none is named. Raises UserError if unknown."""
        if not names:
            return np.ones(self.train.voxels.shape[1], dtype=bool)
        for name in names:
            if name not in self.regions:
                known = ", ".join(self.regions) or "none"
                raise UserError(f"there is no region {name!r}; the recording has: {known}")
        return np.logical_or.reduce([self.regions[name] for name in names])
