"""The diffusion family assembled: a network, a path, a prediction, a law of training times; flow matching included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.denoiser import NetworkDenoiser
from pushforward.denoisers.precondition import Prediction
from pushforward.errors import UserError
from pushforward.models.family import Denoising
from pushforward.networks.conditions import NAMES
from pushforward.numerics.random import Draws
from pushforward.objectives.coupling import Coupling, coupled
from pushforward.objectives.denoising import denoising_loss
from pushforward.objectives.weighting import Weighting, output_weighting
from pushforward.paths.gaussian import GaussianPath
from pushforward.paths.processes import Straight
from pushforward.paths.times import TimeLaw
from pushforward.samplers.default import USUAL_EVALUATIONS, default_sampler


class Diffusion(Denoising):
    """A network trained by w(t)‖F − F*‖², and the Denoiser that it is afterwards.

    Args:
        network: `net(x, time, label=None)`; x (B, *shape), time (B,), label (B,) with `num_classes` for "no label".
        path, prediction: what the network is asked, and on which corruption.
        times: the law of training times.
        shape: of one item, in model units.
        num_classes: how many labels there are, 0 for none.
        label_dropout: share of labels replaced by "no label" in training, which classifier-free guidance needs.
        conditions: names of what the network is told beside the class, each in `Batch.conditions`: those of
            `networks.conditions` can be dropped, others (such as `tokens_mask`) are always told.
        condition_dropout: share of items from which all conditions, the class too, are taken in training; and of each
            alone, so that every set of them can be guided to.
        coupling: which noise of a batch goes with which item, for flow matching on the straight path; None: its own.
            What is learned is then a flow and no score: sample it with rules that draw no noise.
    """

    def __init__(
        self,
        network: nn.Module,
        path: GaussianPath,
        prediction: Prediction,
        times: TimeLaw,
        shape: Sequence[int],
        num_classes: int = 0,
        label_dropout: float = 0.1,
        weighting: Weighting = output_weighting,
        coupling: Coupling | None = None,
        conditions: Sequence[str] = (),
        condition_dropout: tuple[float, float] = (0.1, 0.05),
    ) -> None:
        super().__init__(shape, num_classes)
        self.conditions, self.condition_dropout = tuple(conditions), condition_dropout
        if coupling is not None and not isinstance(path, Straight):
            raise UserError(
                "noise is coupled to data on the straight path, that of flow matching; this one is "
                f"{type(path).__name__}"
            )
        self.coupling = coupling
        self.network, self.path, self.prediction, self.times = network, path, prediction, times
        self.label_dropout, self.weighting = label_dropout, weighting

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        """The one objective of the training engine: all parameters descend the denoising loss."""
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """w(t)‖F − F*‖² averaged over coordinates, one time and one noise per item: (B,)."""
        denoiser, noise = self.denoiser(), None
        labels = self.labels_of(batch)
        told, alone = self._told(batch, draws)
        denoiser = denoiser.given(**told)
        if self.coupling is not None:
            noise = draws.at("noise").normal_like(batch.values)
            noise = coupled(self.coupling, batch.values, noise, labels, draws.at("coupling"))
        if labels is not None:
            keep = (draws.at("label").uniform() >= self.label_dropout) & ~alone
            denoiser = denoiser.given(label=torch.where(keep, labels, self.num_classes))
        return denoising_loss(denoiser, batch.values, draws, self.times, self.weighting, noise=noise)

    def _told(self, batch: Batch, draws: Draws) -> tuple[dict[str, Tensor], Tensor]:
        """The conditions of a batch, some of them dropped, and which items (B,) are told nothing at all."""
        if not self.conditions:
            return {}, torch.zeros(len(batch), dtype=torch.bool, device=batch.values.device)
        missing = [name for name in self.conditions if name not in batch.conditions]
        if missing:
            raise UserError(
                f"the model is conditional on {missing[0]} and this batch has none: train on "
                "Conditioned(split, conditions)"
            )
        everything, each = self.condition_dropout
        alone = draws.at("conditions").uniform() < everything
        dropped = (draws.at("each condition").uniform((len(NAMES),)) < each) | alone[:, None]
        told = {name: batch.conditions[name] for name in self.conditions}
        return {**told, "dropped": dropped}, alone

    def denoiser(self) -> NetworkDenoiser:
        """The network read as a Denoiser, no condition bound."""
        dropped = ("dropped",) if self.conditions else ()
        accepts = (*(("label",) if self.num_classes else ()), *self.conditions, *dropped)
        return NetworkDenoiser(self.path, self.network, self.prediction, accepts=accepts)

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """By the default sampler with 20 evaluations; `DiffusionGenerator` offers every other."""
        start = self.path.prior(draws.at("prior").normal(self.shape))
        sampler = default_sampler(self.path, USUAL_EVALUATIONS, self.prediction.sigma_data)
        return sampler.sample(self.conditioned(labels), start, USUAL_EVALUATIONS, draws)
