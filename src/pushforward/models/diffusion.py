"""The diffusion family assembled: a network, a path, a prediction, a law of training times; flow matching included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.precondition import Prediction
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.denoising import denoising_loss
from pushforward.objectives.weighting import Weighting, output_weighting
from pushforward.paths.gaussian import GaussianPath
from pushforward.paths.times import TimeLaw


class Diffusion(nn.Module):
    """A network trained by w(t)‖F − F*‖², and the Denoiser that it is afterwards.

    Args:
        network: `net(x, time, label=None)`; x (B, *shape), time (B,), label (B,) with `num_classes` for "no label".
        path, prediction: what the network is asked, and on which corruption.
        times: the law of training times.
        shape: of one item, in model units.
        num_classes: how many labels there are, 0 for none.
        label_dropout: share of labels replaced by "no label" in training, which classifier-free guidance needs.
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
    ) -> None:
        super().__init__()
        self.network, self.path, self.prediction, self.times = network, path, prediction, times
        self.shape, self.num_classes = tuple(shape), num_classes
        self.label_dropout, self.weighting = label_dropout, weighting

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        """The one objective of the training engine: all parameters descend the denoising loss."""
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """w(t)‖F − F*‖² averaged over coordinates, one time and one noise per item: (B,)."""
        denoiser = self.denoiser()
        if self.num_classes:
            if batch.labels is None:
                raise UserError("the model is conditional on labels and this batch has none")
            keep = draws.at("label").uniform() >= self.label_dropout
            denoiser = denoiser.given(label=torch.where(keep, batch.labels, self.num_classes))
        return denoising_loss(denoiser, batch.values, draws, self.times, self.weighting)

    def denoiser(self) -> NetworkDenoiser:
        """The network read as a Denoiser, no condition bound."""
        accepts = ("label",) if self.num_classes else ()
        return NetworkDenoiser(self.path, self.network, self.prediction, accepts=accepts)

    def conditioned(self, labels: Tensor | None) -> Denoiser:
        """The Denoiser for these labels (B,), or for no label. Raises UserError for a model without labels."""
        if labels is None:
            return self.denoiser()
        if not self.num_classes:
            raise UserError("the model was trained without labels, so it cannot be asked for one")
        return self.denoiser().given(label=labels)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
