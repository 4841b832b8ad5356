"""Discrete diffusion in the user's form: texts, integer images and rows are drawn, completed and continued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.tokens import Tokens, units_of
from pushforward.errors import UserError
from pushforward.models.discrete import USUAL, Discrete, JumpSampling
from pushforward.models.generator import Generator, Label, Samples, check_counts
from pushforward.numerics.random import Draws
from pushforward.samplers.default import Sampling


@dataclass(frozen=True, eq=False)
class SymbolGenerator(Generator):
    """A model of symbols that speaks the user's form of data."""

    model: Discrete

    def check_way(self, steps: int | None, guidance: float, sampler: Sampling | JumpSampling | None) -> None:
        if sampler is not None and not isinstance(sampler, JumpSampling):
            raise UserError(f"symbols are drawn by a JumpSampling, and {type(sampler).__name__} was given")

    @torch.inference_mode()
    def draw(
        self,
        draws: Draws,
        labels: Tensor | None,
        steps: int | None = None,
        guidance: float = 1.0,
        sampler: Sampling | JumpSampling | None = None,
    ) -> Tensor:
        self.model.eval()
        return self.model.sample(draws, labels, self._way(steps, sampler), guidance)

    @staticmethod
    def _way(steps: int | None, sampler: Sampling | JumpSampling | None) -> JumpSampling:
        way = sampler if isinstance(sampler, JumpSampling) else USUAL
        return way if steps is None else JumpSampling(steps, way.step, way.temperature)

    @torch.inference_mode()
    def complete(
        self,
        values: np.ndarray,
        where: np.ndarray,
        n: int = 1,
        *,
        steps: int | None = None,
        seed: int = 0,
        label: Label = None,
        guidance: float = 1.0,
        sampler: JumpSampling | None = None,
    ) -> Samples:
        """n completions of one item in the user's form whose sites `where` (bool, in its own shape) are known.

        Raises UserError for shapes that do not fit, and for texts, whose gaps `infill` fills.
        """
        check_counts(n, steps)
        if isinstance(self.format.coding, Tokens):
            raise UserError("texts are completed by `infill`, where a mark stands for what is not known")
        known = self.model.symbols(self.format.encode(np.asarray(values)[None]))
        kept = _sites(self.format.coding, np.asarray(where, dtype=bool))
        return self._completed(known, kept, n, steps, seed, label, guidance, sampler)

    def _completed(
        self,
        known: Tensor,
        where: Tensor,
        n: int,
        steps: int | None,
        seed: int,
        label: Label,
        guidance: float,
        sampler: JumpSampling | None,
    ) -> Samples:
        self.model.eval()
        device, labels = self.model.device, self.label_indices(label, n)
        found = self.model.sample(
            Draws.of(seed, range(n), device=device),
            None if labels is None else labels.to(device),
            self._way(steps, sampler),
            guidance,
            known.to(device).expand(n, *self.model.shape),
            where.to(device).expand(n, *self.model.shape),
        )
        return Samples(self.format.decode(found.cpu()), None if labels is None else labels.numpy(), self.format)

    def infill(
        self,
        text: str,
        n: int = 1,
        *,
        mark: str = "_",
        steps: int | None = None,
        seed: int = 0,
        sampler: JumpSampling | None = None,
    ) -> list[str]:
        """n texts that say `text` wherever it says anything, with a unit drawn in the place of every `mark`.

        A text shorter than the model's is completed to its length, and that part left out. Raises UserError for models
        of other data, texts without a mark or too long, and units that the model does not know.
        """
        coding = self._coding()
        check_counts(n, steps)
        if len(mark) != 1 or mark not in text:
            raise UserError(f"the text has no {mark!r}, the one sign that marks what is to be filled in")
        pieces = [coding.index(_units(coding, part)) for part in text.split(mark)]
        known, where = [], []
        for i, piece in enumerate(pieces):
            known += [0] * (i > 0) + piece.tolist()
            where += [False] * (i > 0) + [True] * len(piece)
        length = len(known)
        if length > coding.length:
            raise UserError(
                f"a text of {length} {coding.unit} is longer than the {coding.length} that the model was trained on: "
                "give a part of it"
            )
        rest = coding.length - length
        symbols = torch.tensor([known + [0] * rest])
        if coding.ends and rest:  # the item ends here
            symbols[0, length:] = coding.symbols - 1
            where += [True] * rest
        else:
            where += [False] * rest
        barred = None
        if coding.ends:  # no gap ends the item, or what is given after it would be lost
            barred = torch.zeros(coding.length, coding.symbols, dtype=torch.bool, device=self.model.device)
            barred[:length, -1] = True
        with torch.inference_mode():
            found = self._drawn(symbols, torch.tensor([where]), n, steps, seed, sampler, barred=barred)
        return [str(part) for part in coding.decode(found[:, :length].cpu())]

    def extend(
        self,
        length: int,
        n: int = 1,
        *,
        prompt: str = "",
        block: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        sampler: JumpSampling | None = None,
    ) -> list[str]:
        """n texts of `length` units that begin with `prompt`, of any length: block after block (semi-autoregressive).

        Each `block` (by default half of the model's length) is drawn given as much of what is before it as fits. Raises
        UserError for models of other data, and where `block` or `length` do not fit.
        """
        coding = self._coding()
        check_counts(n, steps)
        if coding.ends:
            raise UserError("this model learned items that end, which cannot be continued: leave out the length")
        block = max(1, coding.length // 2) if block is None else block
        if not 1 <= block <= coding.length:
            raise UserError(f"a block has 1 to {coding.length} {coding.unit}; got {block}")
        start = coding.index(_units(coding, prompt)) if prompt else np.zeros(0, dtype=np.int64)
        if length <= len(start):
            raise UserError(f"the prompt has {len(start)} {coding.unit} already; ask for more than that")
        written, part = torch.from_numpy(start).expand(n, -1), 0
        with torch.inference_mode():
            while written.shape[1] < length:
                written = self._continued(written, block, n, steps, seed, part, sampler)
                part += 1
        return [str(text) for text in coding.decode(written[:, :length].cpu())]

    def _continued(
        self, written: Tensor, block: int, n: int, steps: int | None, seed: int, part: int, sampler: JumpSampling | None
    ) -> Tensor:
        total = self.model.shape[0]
        context = written[:, max(0, written.shape[1] - (total - block)) :]
        known = torch.zeros(n, total, dtype=torch.int64)
        known[:, : context.shape[1]] = context.cpu()
        where = torch.arange(total) < context.shape[1]
        found = self._drawn(known, where.expand(n, -1), n, steps, seed, sampler, part).cpu()
        return torch.cat((written.cpu(), found[:, context.shape[1] : context.shape[1] + block]), 1)

    def _drawn(
        self,
        known: Tensor,
        where: Tensor,
        n: int,
        steps: int | None,
        seed: int,
        sampler: JumpSampling | None,
        part: int = 0,
        barred: Tensor | None = None,
    ) -> Tensor:
        self.model.eval()
        device = self.model.device
        draws = Draws.of(seed, range(n), device=device).at("part", part)
        shape = (n, *self.model.shape)
        labels = self.label_indices(None, n)
        return self.model.sample(
            draws,
            None if labels is None else labels.to(device),
            self._way(steps, sampler),
            known=known.to(device).expand(shape),
            where=where.to(device).expand(shape),
            barred=barred,
        )

    def _coding(self) -> Tokens:
        if not isinstance(self.format.coding, Tokens):
            raise UserError("only models of texts fill in and continue texts; use `complete` for other data")
        return self.format.coding


def _sites(coding: Any, where: np.ndarray) -> Tensor:
    """Places of an item in the user's form, bool (*item_shape), as places in model units: (1, *shape)."""
    if where.shape != coding.item_shape:
        raise UserError(f"what is known is of the item's shape {coding.item_shape}; got {where.shape}")
    lowest = np.broadcast_to(np.asarray(coding.low), where.shape)
    # the coding knows where every number of the user's goes: so it is asked to encode two that differ
    here, there = (coding.encode(np.where(where, lowest + step, lowest)[None]) for step in (0.0, 1.0))
    return here != there


def _units(coding: Tokens, text: str) -> np.ndarray:
    return units_of(text, coding.unit, coding.tokenizer)
