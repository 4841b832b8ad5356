"""What every kind of model can do, whatever it is made of: be trained, be drawn from, perhaps tell a density."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch, Split
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.precondition import Prediction
from pushforward.energy.log_z import LogZ
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath


class Family(nn.Module, abc.ABC):
    """A model of items of one shape, perhaps of one class among several.

    Args:
        shape: of one item, in model units.
        num_classes: how many classes it knows, 0 for none.
    """

    def __init__(self, shape: Sequence[int], num_classes: int = 0) -> None:
        super().__init__()
        self.shape, self.num_classes = tuple(shape), num_classes

    @abc.abstractmethod
    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The parameters that each objective trains, in the order in which they take turns."""

    @abc.abstractmethod
    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """The loss of each item: (B,)."""

    @abc.abstractmethod
    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """One batch of samples in model units (len(draws), *shape), of these classes (B,) where it knows some."""

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def labels_of(self, batch: Batch) -> Tensor | None:
        """The classes of a training batch, None for a model without. Raises UserError where the batch has none."""
        if not self.num_classes:
            return None
        if batch.labels is None:
            raise UserError("the model is conditional on labels and this batch has none")
        return batch.labels


class Denoising(Family):
    """A family that is a Denoiser: every sampler, every likelihood and every inverse solver works on it."""

    network: nn.Module
    path: GaussianPath
    prediction: Prediction

    @property
    def tells_variance(self) -> bool:
        """Whether its estimates come with Var[x_0 | x_t], so that none has to be estimated on data."""
        return False

    @abc.abstractmethod
    def denoiser(self) -> Denoiser:
        """The model as a Denoiser, no condition bound."""

    def conditioned(self, labels: Tensor | None) -> Denoiser:
        """The Denoiser for these labels (B,), or for no label. Raises UserError for a model without labels."""
        if labels is None:
            return self.denoiser()
        if not self.num_classes:
            raise UserError("the model was trained without labels, so it cannot be asked for one")
        return self.denoiser().given(label=labels)


class Items(Protocol):
    """What a model is trained on, by index."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def batch(self, indices: Tensor) -> Batch:
        """The items with these indices."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A family with something to do once before its first step; it then trains on items of its own making."""

    def prepare(self, train: Split, validation: Split, seed: int) -> tuple[Items, Items]:
        """What it needs of all the data, unless it has that already; the items to train on and to validate with."""
        ...


@runtime_checkable
class HasLatents(Protocol):
    """A family whose items have latents: of a flow the same numbers in other places, of an autoencoder fewer."""

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The latent of each item (B, *shape)."""
        ...

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The items (B, *shape) of what `encode` gives."""
        ...


@runtime_checkable
class Unnormalised(Protocol):
    """A family whose density is known up to a constant, which is estimated before it is asked for."""

    def estimate_log_z(self, draws: Draws, label: int | None = None, *, rungs: int = 300) -> LogZ:
        """Estimate log Z for a label, or for items without one, by one chain per key; kept until training goes on."""
        ...

    def keep_log_z(self, label: int | None, found: LogZ) -> None:
        """Take what was estimated before for this label."""
        ...


@dataclass(frozen=True, eq=False)
class Density:
    """log p of items: nats and their standard errors, float64 (B,).

    `method` says how it was computed, `of` what it is a density of.
    """

    nats: Tensor
    standard_error: Tensor
    method: str
    of: str


@runtime_checkable
class HasDensity(Protocol):
    """A family that tells log p(x), or a bound of it, by itself."""

    @property
    def discrete(self) -> bool:
        """Whether it gives probabilities of the data's whole numbers, not densities in model units."""
        ...

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """log p of x (B, *shape) in model units, given their classes where `labels` is not None."""
        ...
