"""The diffusion family assembled: a network, a path, a prediction, a law of training times; flow matching included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.denoiser import NetworkDenoiser
from pushforward.denoisers.precondition import Prediction
from pushforward.denoisers.variance import LearnedVariance, VarianceRule
from pushforward.errors import UserError
from pushforward.models.family import Denoising
from pushforward.networks.conditions import NAMES
from pushforward.numerics.random import Draws
from pushforward.objectives.coupling import Coupling, coupled
from pushforward.objectives.losses import Loss, SimpleLoss
from pushforward.paths.gaussian import GaussianPath
from pushforward.paths.processes import Straight
from pushforward.paths.times import LossAware, Stratified, TimeLaw, Times
from pushforward.samplers.default import USUAL_EVALUATIONS, default_sampler

_SIMPLE = SimpleLoss()


class Diffusion(Denoising):
    """A network trained by w(t)‖F − F*‖² or by the variational bound, and the Denoiser that it is afterwards.

    Args:
        network: `net(x, time, label=None)`; x (B, *shape), time (B,), label (B,) with `num_classes` for "no label".
        path, prediction: what the network is asked, and on which corruption.
        times: the law of training times.
        shape: of one item, in model units.
        num_classes: how many labels there are, 0 for none.
        label_dropout: share of labels replaced by "no label" in training, which classifier-free guidance needs.
        descends: the simple loss, the bound or both.
        conditions: names of what the network is told beside the class, each in `Batch.conditions`: those of
            `networks.conditions` can be dropped, others (such as `tokens_mask`) are always told.
        condition_dropout: share of items from which all conditions, the class too, are taken in training; and of each
            alone, so that every set of them can be guided to.
        coupling: which noise of a batch goes with which item, for flow matching on the straight path; None: its own.
            What is learned is then a flow and no score: sample it with rules that draw no noise.
        variance: how the second half of the network's channels is read as Var[x_0 | x_t]; None: it has no such half.
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
        descends: Loss = _SIMPLE,
        coupling: Coupling | None = None,
        conditions: Sequence[str] = (),
        condition_dropout: tuple[float, float] = (0.1, 0.05),
        variance: VarianceRule | None = None,
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
        self.label_dropout, self.descends, self.variance = label_dropout, descends, variance

    @property
    def tells_variance(self) -> bool:
        return self.variance is not None

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        """The one objective of the training engine: all parameters descend one loss."""
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """Of one time and one noise per item: (B,)."""
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
        law, observe = self._times()
        return self.descends(denoiser, batch.values, draws, law, noise=noise, observe=observe)

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

    def _times(self) -> tuple[TimeLaw, Callable[[Times, Tensor], None] | None]:
        """The law of times, and who is told of the losses there: held-out items are met by a law that none moves."""
        if not isinstance(self.times, LossAware):
            return self.times, None
        return (self.times, self.times.tally) if self.training else (Stratified(self.times.law), None)

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Times that follow the losses take in those of the step that has ended, over all processes."""
        if isinstance(self.times, LossAware):
            self.times.settle(total)

    def denoiser(self) -> NetworkDenoiser | LearnedVariance:
        """The network read as a Denoiser, no condition bound."""
        dropped = ("dropped",) if self.conditions else ()
        accepts = (*(("label",) if self.num_classes else ()), *self.conditions, *dropped)
        base = NetworkDenoiser(self.path, self.network, self.prediction, accepts=accepts)
        return base if self.variance is None else LearnedVariance(base, self.variance)

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """By the default sampler with 20 evaluations; `DiffusionGenerator` offers every other."""
        start = self.path.prior(draws.at("prior").normal(self.shape))
        sampler = default_sampler(self.path, USUAL_EVALUATIONS, self.prediction.sigma_data)
        return sampler.sample(self.conditioned(labels), start, USUAL_EVALUATIONS, draws)
