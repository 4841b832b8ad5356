"""What is watched on the device, without waiting for it: mean losses, norms, and the first step that was not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.training.place import Place
from pushforward.training.step import Objective, Taken

_LATEST = 1 << 40  # larger than any step: `_LATEST - step` turns the earliest step into the maximum


class Monitor:
    """Sums of losses and of gradient norms since the last entry of the log, and the first non-finite step."""

    def __init__(self, objectives: Sequence[Objective], place: Place) -> None:
        self.objectives, self.place = objectives, place
        self._work = torch.float32 if place.device.type == "mps" else torch.float64
        self._bad = torch.zeros((), dtype=torch.int64, device=place.device)
        self._culprit: list[tuple[Tensor, Tensor]] = []
        self.clear()

    def clear(self) -> None:
        """Begin a new entry of the log."""
        self.count = 0
        self._sums = torch.zeros(len(self.objectives), 2, dtype=self._work, device=self.place.device)
        self._figures: dict[str, Tensor] = {}

    def record(self, step: int, results: Sequence[Taken]) -> None:
        """Take in what `step` (from 1) gave for each objective."""
        values = torch.stack([torch.stack((r.loss, torch.linalg.vector_norm(r.norms))).to(self._work) for r in results])
        first = ~torch.isfinite(values).all() & (self._bad == 0)
        found = [(values[i, 0], result.norms) for i, result in enumerate(results)]
        if self._culprit:
            pairs = zip(found, self._culprit, strict=True)
            found = [(torch.where(first, a, c), torch.where(first, b, d)) for (a, b), (c, d) in pairs]
        self._culprit = found
        self._bad = torch.where(first, _LATEST - step, self._bad)
        if not self.place.main:
            values[:, 1] = 0  # the norms are the same everywhere: they are summed over steps, not over processes
        self._sums += values
        self._figures = {name: figure for result in results for name, figure in result.figures.items()}
        self.count += 1

    def check(self, *flags: bool) -> list[bool]:
        """Raise if a step was not finite; returns which of the flags are up in any process.

        Raises:
            NumericalError: names the step and the first loss or gradient that was not finite.
        """
        values = torch.stack([self._bad, *(torch.tensor(int(f), device=self.place.device) for f in flags)])
        bad, *raised = self.place.maximum(values)
        if bad:
            raise NumericalError(f"Step {_LATEST - int(bad)}: {self._name()} is not finite")
        return [bool(flag) for flag in raised]

    def _name(self) -> str:
        for objective, (loss, norms) in zip(self.objectives, self._culprit, strict=True):
            wrong = (~torch.isfinite(norms)).nonzero().flatten().tolist()
            where = f"the gradient of {objective.names[wrong[0]]}" if wrong else "a gradient"
            if not bool(torch.isfinite(loss)):
                return f"the loss {objective.name!r} ({where} too)" if wrong else f"the loss {objective.name!r}"
            if wrong:
                return where
        return "a loss or a gradient of another process"

    def means(self) -> tuple[dict[str, float], dict[str, float]]:
        """The mean loss and the mean norm of the gradient of each objective since `clear`, over all processes."""
        sums = (self.place.sum(self._sums) / max(1, self.count)).tolist()
        pairs = list(zip(self.objectives, sums, strict=True))
        return {o.name: s[0] for o, s in pairs}, {o.name: s[1] for o, s in pairs}

    def figures(self) -> dict[str, float | None]:
        """The model's own figures at the last step, over all processes; None where one is not finite."""
        if not self._figures:
            return {}
        values = self.place.sum(torch.stack([f.to(self._work) for f in self._figures.values()])).tolist()
        return {n: v if math.isfinite(v) else None for n, v in zip(self._figures, values, strict=True)}

    def state(self) -> dict[str, Any]:
        """The unfinished entry of the log, to be stored."""
        return {"count": self.count, "sums": self.place.sum(self._sums).tolist()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue an unfinished entry of the log; the main process holds what all had summed."""
        self.clear()
        self.count = int(state["count"])
        sums = torch.tensor(state["sums"], dtype=self._work, device=self.place.device)
        if sums.shape != self._sums.shape:
            raise UserError(
                f"the stored entry of the log is of {len(sums)} objectives, and there are {len(self._sums)}"
            )
        if self.place.main:
            self._sums += sums
