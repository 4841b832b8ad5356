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
    ) -> None:
        super().__init__(shape, num_classes)
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
        if self.coupling is not None:
            noise = draws.at("noise").normal_like(batch.values)
            noise = coupled(self.coupling, batch.values, noise, labels, draws.at("coupling"))
        if labels is not None:
            keep = draws.at("label").uniform() >= self.label_dropout
            denoiser = denoiser.given(label=torch.where(keep, labels, self.num_classes))
        return denoising_loss(denoiser, batch.values, draws, self.times, self.weighting, noise=noise)

    def denoiser(self) -> NetworkDenoiser:
        """The network read as a Denoiser, no condition bound."""
        accepts = ("label",) if self.num_classes else ()
        return NetworkDenoiser(self.path, self.network, self.prediction, accepts=accepts)

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """By the default sampler with 20 evaluations; `DiffusionGenerator` offers every other."""
        start = self.path.prior(draws.at("prior").normal(self.shape))
        sampler = default_sampler(self.path, USUAL_EVALUATIONS, self.prediction.sigma_data)
        return sampler.sample(self.conditioned(labels), start, USUAL_EVALUATIONS, draws)
