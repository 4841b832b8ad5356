"""The energy model of the tutorial: p(x) = exp(−f(x))/Z for any network, trained by score matching.

A score fitted to the data is known where the data are and nowhere else, so where modes lie apart their weights are
left to chance and chains that start elsewhere are led astray. `NoisyEnergyModel` is the one to use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.terminal import Moments
from pushforward.energy.chains import HMC, Kernel, mala_step
from pushforward.energy.estimate import Normaliser, estimate_log_z, sample_annealed
from pushforward.energy.ladders import GaussianBase, Start, Tempered
from pushforward.energy.log_z import LogZ
from pushforward.energy.losses import ScoreMatching, SlicedReduced
from pushforward.errors import UserError
from pushforward.flows.checks import check_finite
from pushforward.models.family import Density, Family
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws

PILOTS = 256
"""Samples of the model that a base is fitted to."""
_DEFAULT_LOSS = SlicedReduced()


class EnergyModel(Family):
    """p(x) ∝ exp(−f(x)) with f(x) = ½‖u‖² + Φ(u), u = x/scale, trained by a score-matching loss.

    The quadratic keeps Z finite where Φ grows no faster than ‖u‖, as inner products with normalised networks do.

    Args:
        potential: Φ(u, time, label=None) -> (B,), such as `vector_potential`; its time is always 0.
        shape: of one item, in model units.
        loss: how the score is matched.
        scale: the data's standard deviation.
        num_classes: how many labels there are, 0 for none.
        label_dropout: share of labels replaced by "no label" in training.
        rungs: of the ladder of tempered densities that samples are drawn on.
    """

    def __init__(
        self,
        potential: nn.Module,
        shape: Sequence[int],
        loss: ScoreMatching = _DEFAULT_LOSS,
        scale: float = 1.0,
        num_classes: int = 0,
        label_dropout: float = 0.1,
        rungs: int = 100,
    ) -> None:
        super().__init__(shape, num_classes)
        if not (math.isfinite(scale) and scale > 0):
            raise UserError(f"the scale of an energy model must be a positive number; got {scale}")
        self.potential, self.matching, self.scale = potential, loss, scale
        self.label_dropout, self.rungs = label_dropout, rungs
        self.normaliser = Normaliser(num_classes)

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        """The one objective of the training engine: all parameters descend the score-matching loss."""
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """The score-matching loss of each item: (B,). It has no floor of 0. Training forgets log Z.

        Raises UserError for numbers that are not finite.
        """
        check_finite(batch.values, "batch")
        if self.training:
            self.normaliser.forget()
        labels = self.labels_of(batch)
        if labels is not None:
            keep = draws.at("label").uniform() >= self.label_dropout
            labels = torch.where(keep, labels, self.num_classes)
        return self.matching(lambda x: -self.energy(x, labels), batch.values, draws)

    def energy(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """f(x) in nats, up to a constant per label: (B, …) -> (B,), differentiable."""
        u = x / self.scale
        time = torch.zeros(len(x), device=x.device)
        return 0.5 * sum_per_sample(u.square()) + self.potential(u, time, *(() if labels is None else (labels,)))

    @torch.no_grad()
    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """Samples (len(draws), *shape) by Hamiltonian chains annealed from N(0, scale²)."""
        return sample_annealed(self._ladder(labels, self._prior()), usual_kernel(self.shape), draws, self.rungs)

    def estimate_log_z(
        self,
        draws: Draws,
        label: int | None = None,
        *,
        rungs: int = 200,
        moves: int = 1,
        kernel: Kernel | None = None,
        base: Start | None = None,
        data: Tensor | None = None,
        batch_size: int = 512,
    ) -> LogZ:
        """log Z for a label (None: for items without), by one annealed chain per key; kept until training goes on.

        `base` is where the chains come from: a Gaussian fitted to samples of the model, unless another density, such
        as a flow, is given. Data (N, *shape) give an upper bound as well. For the rest see `energy.estimate`.
        """
        row = self.normaliser.row(label)
        given = None if label is None else torch.full((1,), row, device=self.device)
        if base is None:
            pilots = draws[:PILOTS].at("base")
            base = GaussianBase(fitted_moments(self.draw(pilots, None if given is None else given.expand(len(pilots)))))
        found = estimate_log_z(
            self._ladder(given, base),
            kernel or usual_kernel(self.shape),
            draws,
            rungs=rungs,
            moves=moves,
            data=data,
            batch_size=batch_size,
        )
        self.normaliser.keep(label, found)
        return found

    def keep_log_z(self, label: int | None, found: LogZ) -> None:
        """Take what was estimated before, by `estimate_log_z` on these weights."""
        self.normaliser.keep(label, found)

    @torch.no_grad()
    def log_prob(self, x: Tensor, labels: Tensor | None = None, draws: Draws | None = None) -> Tensor:
        """log p(x) = −f(x) − log Z in nats, float64 (B,). Raises UserError for nan, and before `estimate_log_z`."""
        check_finite(x, "input")
        return -self.energy(x, labels).double() - self.normaliser.of(labels, len(x))[0]

    @property
    def discrete(self) -> bool:
        """False: a density in model units."""
        return False

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """log p with the error of log Z, which is the same for all items of a label."""
        return Density(
            self.log_prob(x, labels), self.normaliser.of(labels, len(x))[1], self.normaliser.method, "the model"
        )

    def _ladder(self, labels: Tensor | None, base: Start) -> Tempered:
        def log_density(x: Tensor) -> Tensor:
            return -self.energy(x, None if labels is None else labels.expand(len(x)))

        return Tempered(base, log_density, self.scale)

    def _prior(self) -> GaussianBase:
        mean = torch.zeros(self.shape, dtype=torch.float64, device=self.device)
        return GaussianBase(Moments(mean, torch.full((mean.numel(),), self.scale**2).to(mean)), self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def usual_kernel(shape: Sequence[int]) -> HMC:
    """Three leaps, with the step that suits as many dimensions."""
    return HMC(mala_step(math.prod(shape)), 3)


def fitted_moments(x: Tensor) -> Moments:
    """Mean and covariance of samples (N, …) for a base that need not be right: full where they are four times as many
    as coordinates, else per coordinate; no variance is below a thousandth of the mean one."""
    found = Moments.of_samples(x)
    floor = 1e-3 * found.scale**2
    if len(x) < 4 * x[0].numel():
        return Moments.of(found.mean, found.variances.reshape(x.shape[1:]) + floor)
    covariance = torch.cov(x.double().flatten(1).T).reshape(x[0].numel(), -1)
    return Moments.of(found.mean, covariance + floor * torch.eye(len(covariance)).to(covariance))
