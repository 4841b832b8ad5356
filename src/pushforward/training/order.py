"""Which items make up a step: a pure function of (seed, step), so that the order is neither stored nor lost."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import key, permutation


class Order:
    """Every item once per epoch, in a new counted order each time; step k covers positions k·B … (k + 1)·B − 1.

    Batches run on across the ends of epochs, so a data set smaller than a batch fills it by several epochs.
    """

    def __init__(self, seed: int, items: int, batch_size: int) -> None:
        if items < 1:
            raise UserError("The training data are empty: at least one item is needed.")
        self.seed, self.items, self.batch_size = seed, items, batch_size
        self._epochs: dict[int, Tensor] = {}

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            if len(self._epochs) > 1:  # a batch rarely meets more than two epochs, and large ones are worth keeping
                self._epochs.pop(min(self._epochs))
            self._epochs[epoch] = permutation(key(self.seed, "order", epoch), self.items)
        return self._epochs[epoch]

    def indices(self, step: int) -> Tensor:
        """The items of a step (from 0) in the order of their slots: int64 (B,)."""
        position, parts, wanted = step * self.batch_size, [], self.batch_size
        while wanted:
            epoch, offset = divmod(position, self.items)
            part = self._epoch(epoch)[offset : offset + wanted]
            parts.append(part)
            position, wanted = position + len(part), wanted - len(part)
        return torch.cat(parts)


def share(count: int, parts: int, part: int) -> range:
    """The contiguous share of 0 … count − 1 that falls to one of several; sizes differ by at most one."""
    return range(count * part // parts, count * (part + 1) // parts)


def chunks(count: int, world: int, rank: int, accumulate: int) -> list[tuple[range, float]]:
    """The slots of one process, cut for accumulation, each with its weight.

    Every process gets the same number of chunks, none of them empty: where there are more chunks than items, a chunk
    repeats slot 0 with weight 0, so that every process takes part in every exchange of gradients.
    """
    mine = share(count, world, rank)
    cut = [share(len(mine), accumulate, part) for part in range(accumulate)]
    return [(mine[c.start : c.stop], 1.0) if len(c) else (range(1), 0.0) for c in cut]
