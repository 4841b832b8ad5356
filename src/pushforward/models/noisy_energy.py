"""Energies at every noise level, p(x | σ) ∝ exp(−E(x, σ)): a diffusion model with a density that can be evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.precondition import Prediction
from pushforward.denoisers.terminal import Moments
from pushforward.energy.chains import Kernel
from pushforward.energy.denoiser import EnergyDenoiser
from pushforward.energy.estimate import Normaliser, estimate_log_z
from pushforward.energy.ladders import NoiseLadder
from pushforward.energy.log_z import LogZ
from pushforward.energy.point import Point
from pushforward.flows.checks import check_finite
from pushforward.models.diffusion import Diffusion
from pushforward.models.energy import PILOTS, fitted_moments, usual_kernel
from pushforward.models.family import Density
from pushforward.networks.energy import Gradient
from pushforward.numerics.random import Draws
from pushforward.objectives.losses import SimpleLoss
from pushforward.objectives.weighting import Weighting, output_weighting
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.times import TimeLaw

_START = 10.0
"""σ/α in units of the data's deviation where chains begin: there the density is a Gaussian to a few 1e-3 nats."""


class NoisyEnergyModel(Diffusion):
    """p(x | σ) ∝ exp(−E(x, σ)): a diffusion model whose network is the gradient of a potential.

    Trained by the denoising loss at all levels, which is denoising score matching of −∇E; afterwards a Denoiser with
    a density at every level (`EnergyDenoiser`).

    Args:
        potential: Φ(u, time, label=None) -> (B,), such as `image_potential`.
        path, prediction, times, weighting, shape, num_classes, label_dropout: as for `Diffusion`.
    """

    def __init__(
        self,
        potential: nn.Module,
        path: GaussianPath,
        prediction: Prediction,
        times: TimeLaw,
        shape: Sequence[int],
        num_classes: int = 0,
        label_dropout: float = 0.1,
        weighting: Weighting = output_weighting,
    ) -> None:
        descends = SimpleLoss(weighting)
        super().__init__(Gradient(potential), path, prediction, times, shape, num_classes, label_dropout, descends)
        self.normaliser = Normaliser(num_classes)

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """w(t)‖F − F*‖² with F = ∇Φ, averaged over coordinates: (B,). Training forgets log Z."""
        if self.training:
            self.normaliser.forget()
        return super().loss(objective, batch, draws)

    def denoiser(self) -> EnergyDenoiser:
        """The energy read as a Denoiser, no condition bound."""
        accepts = ("label",) if self.num_classes else ()
        network = self.network
        assert isinstance(network, Gradient)
        return EnergyDenoiser(self.path, network, self.prediction, accepts=accepts)

    def energy(self, x: Tensor, labels: Tensor | None = None, t: float | None = None) -> Tensor:
        """E(x, σ(t)) in nats, up to a constant per level and label: (B,), differentiable; at t_min by default."""
        return self._bound(labels).energy(x, self.path.level(self.path.t_min if t is None else t))

    def estimate_log_z(
        self,
        draws: Draws,
        label: int | None = None,
        *,
        rungs: int = 300,
        moves: int = 1,
        kernel: Kernel | None = None,
        moments: Moments | None = None,
        data: Tensor | None = None,
        batch_size: int = 512,
    ) -> LogZ:
        """log Z at the smallest noise for a label (None: for items without), by one chain per key, annealed in noise.

        `moments` are those of the data given the label; unless given, of samples of the model. Data (N, *shape) give
        an upper bound as well. The result is kept until training goes on. For the rest see `energy.estimate`.
        """
        row = self.normaliser.row(label)
        energy = _OfLabel(self.denoiser(), None if label is None else row)
        if moments is None:
            pilots = draws[:PILOTS].at("moments")
            with torch.no_grad():
                moments = fitted_moments(self.draw(pilots, energy.labels(len(pilots), self.device)))
        ends = self._start(moments.scale), self.path.level(self.path.t_min)
        ladder = NoiseLadder(energy, moments.to(self.device), *ends)
        found = estimate_log_z(
            ladder,
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
        """log p(x) = −E(x, σ_min) − log Z in nats, float64 (B,).

        Raises UserError for numbers that are not finite, and before `estimate_log_z`.
        """
        check_finite(x, "input")
        return -self.energy(x, labels).double() - self.normaliser.of(labels, len(x))[0]

    @property
    def discrete(self) -> bool:
        """False: a density in model units."""
        return False

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """log p with the error of log Z, which is the same for all items of a label."""
        what = f"the data with noise of σ/α = {self.path.level(self.path.t_min).ratio:.3g}"
        return Density(self.log_prob(x, labels), self.normaliser.of(labels, len(x))[1], self.normaliser.method, what)

    def _bound(self, labels: Tensor | None) -> EnergyDenoiser:
        return self.denoiser() if labels is None else self.denoiser().given(label=labels)

    def _start(self, scale: float) -> Level:
        """Where the chains' noise begins: `_START` deviations of the data, or the path's own end."""
        top = self.path.level(self.path.t_max)
        if top.ratio <= _START * scale:
            return top
        return self.path.level(float(self.path.time(-torch.tensor(_START * scale, dtype=torch.float64).log())))


@dataclass(frozen=True)
class _OfLabel:
    """The energies of one label, or of "no label", for any number of points."""

    denoiser: EnergyDenoiser
    label: int | None

    @property
    def path(self) -> GaussianPath:
        return self.denoiser.path

    def labels(self, count: int, device: torch.device) -> Tensor | None:
        return None if self.label is None else torch.full((count,), self.label, device=device)

    def point(self, x: Tensor, level: Level, /) -> Point:
        labels = self.labels(len(x), x.device)
        return (self.denoiser if labels is None else self.denoiser.given(label=labels)).point(x, level)
