"""Tables of numbers and categories: Gaussian and discrete diffusion together, in one time and with one network.

The reversed process of both parts moves numbers by the estimate of their noise and categories by their rates, each
given the whole row (Kotelnikov et al. 2023, TabDDPM). Numbers are made normal by their quantiles before; categories are
masked, which tells the network what is noise, or drawn anew by uniform jumps, as published.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.data.quantiles import KNOTS, from_normal, to_normal
from pushforward.denoisers.categorical import CategoricalEstimate
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.precondition import VPrediction
from pushforward.errors import UserError
from pushforward.models.family import Family
from pushforward.models.generator import Generator
from pushforward.numerics.broadcast import batch_of, expand, mean_per_sample
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import auxiliary, masked_gap
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.paths.generators import Absorbing
from pushforward.paths.jump import JumpPath
from pushforward.paths.processes import CosineVP
from pushforward.paths.times import Stratified, UniformTimes
from pushforward.samplers.default import Sampling
from pushforward.samplers.jump import JumpAncestral

USUAL_STEPS = 100
_EVEN = Stratified(UniformTimes())
_ANCESTRAL = JumpAncestral()


class Mixed(Family):
    """A network of rows trained on the denoising loss of their numbers and the bound, or cross-entropy, of categories.

    Args:
        network: `net(x, codes, time, label)`, see `MixedRows`.
        jumps: the process of the categories.
        numbers, codes: which places of a row in model units (D,) are numbers, and which are codes.
        sizes: how many categories each of `codes` has.
        knots: quantiles of the numbers, (N, KNOTS), from which they are made normal.
    """

    knots: Tensor
    beyond: Tensor
    at_numbers: Tensor
    at_codes: Tensor

    def __init__(
        self,
        network: nn.Module,
        jumps: JumpPath,
        numbers: Sequence[int],
        codes: Sequence[int],
        sizes: Sequence[int],
        knots: Tensor,
        num_classes: int = 0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__((len(numbers) + len(codes),), num_classes)
        if not numbers or not codes:
            raise UserError("mixed models are of rows with numbers and categories; use diffusion or discrete models")
        if knots.shape != (len(numbers), KNOTS):
            raise UserError(f"quantiles have the shape {(len(numbers), KNOTS)}; got {tuple(knots.shape)}")
        self.network, self.jumps, self.label_dropout = network, jumps, label_dropout
        self.path: GaussianPath = CosineVP()
        self.prediction = VPrediction()
        self.register_buffer("knots", knots.double())
        beyond = torch.arange(jumps.generator.symbols) >= torch.tensor(list(sizes))[:, None]
        self.register_buffer("beyond", beyond, persistent=False)
        self.register_buffer("at_numbers", torch.tensor(list(numbers)), persistent=False)
        self.register_buffer("at_codes", torch.tensor(list(codes)), persistent=False)

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """‖F − F*‖² per number plus the bound per category, at one time for both: (B,)."""
        labels = self.labels_of(batch)
        if labels is not None:
            keep = draws.at("label").uniform() >= self.label_dropout
            labels = torch.where(keep, labels, self.num_classes)
        numbers, codes = self.parts(batch.values, draws.at("place"))
        t = _EVEN(self.path, draws.at("time")).t.to(numbers.device)
        level, jump = self.path.level(t), self.jumps.level(t)
        noise = draws.at("noise").normal_like(numbers)
        x = expand(level.alpha, numbers) * numbers + expand(level.sigma, numbers) * noise
        z = self.jumps.corrupt(codes, jump, draws.at("jump"))
        output, outside = self._answers(x, z, t, labels)
        aim = expand(level.alpha, x) * noise - expand(level.sigma, x) * numbers
        # of uniform jumps the bound's weights grow like 1/t; the cross-entropy has the same best answer and less noise
        gap = masked_gap if isinstance(self.jumps.generator, Absorbing) else auxiliary
        nats = gap(CategoricalEstimate(self.jumps, z, jump, outside), codes)
        return mean_per_sample((output - aim) ** 2) + nats.to(output.dtype) / codes.shape[1]

    def parts(self, values: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Rows in model units (B, D) as normal numbers (B, N) and codes int64 (B, C)."""
        numbers = to_normal(values[:, self.at_numbers], self.knots, draws)
        return numbers, values[:, self.at_codes].round().long()

    def _answers(self, x: Tensor, z: Tensor, t: Tensor | float, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        output, logits = self.network(x, z, batch_of(6 * t - 3, len(x), x.device), labels)
        return output, logits.masked_fill(self.beyond, -torch.inf)

    @torch.no_grad()
    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        return self.sample(draws, labels, USUAL_STEPS)

    def sample(
        self, draws: Draws, labels: Tensor | None = None, steps: int = USUAL_STEPS, guidance: float = 1.0
    ) -> Tensor:
        """Rows in model units (B, D), by so many steps of both parts on the same even grid."""
        count = len(self.at_numbers), len(self.at_codes)
        x = self.path.prior(draws.at("prior").normal(count[:1]))
        z = self.jumps.prior(draws.at("masks"), count[1:])
        times = torch.linspace(self.path.t_max, self.path.t_min, steps + 1, dtype=torch.float64)[:-1].tolist()
        for i, (t, s) in enumerate(itertools.pairwise([*times, 0.0])):
            output, outside = self._guided(x, z, t, labels, guidance)
            x = self._number_step(x, output, self.path.level(t), s, draws.at(i, "noise"))
            jump, to = self.jumps.level(t), self.jumps.level(s) if s else CLEAN
            law = _ANCESTRAL.law(CategoricalEstimate(self.jumps, z, jump, outside), to)
            z = categorical(law, draws.at(i, "jump"))
        out = torch.empty(len(x), *self.shape, device=x.device)
        out[:, self.at_numbers] = from_normal(x, self.knots).to(out.dtype)
        out[:, self.at_codes] = z.to(out.dtype)
        return out

    def _guided(self, x: Tensor, z: Tensor, t: float, labels: Tensor | None, guidance: float) -> tuple[Tensor, Tensor]:
        output, outside = self._answers(x, z, t, labels)
        if guidance == 1.0:
            return output, outside
        if labels is None:
            raise UserError("guidance needs a label to be guided to; this model has none or none was given")
        other, without = self._answers(x, z, t, torch.full_like(labels, self.num_classes))
        mixed = torch.log_softmax(without, -1).masked_fill(self.beyond, 0.0)
        one = torch.log_softmax(outside, -1).masked_fill(self.beyond, 0.0)
        logits = (mixed + guidance * (one - mixed)).masked_fill(self.beyond, -torch.inf)
        return other + guidance * (output - other), logits

    def _number_step(self, x: Tensor, output: Tensor, level: Level, s: float, draws: Draws) -> Tensor:
        """Ancestral: from the posterior of x_s given the estimate of x_0."""
        mean = Estimate(x, level, output, self.prediction.reading(level)).mean
        if s == 0.0:
            return mean
        posterior = self.path.posterior(mean, x, self.path.level(s), level)
        return posterior.mean + float(posterior.var) ** 0.5 * draws.normal_like(x)


@dataclass(frozen=True, eq=False)
class MixedGenerator(Generator):
    """A model of mixed tables in the user's form, by any number of steps."""

    model: Mixed

    def check_way(self, steps: int | None, guidance: float, sampler: Sampling | None) -> None:
        if sampler is not None:
            raise UserError("mixed tables are drawn by one rule, ancestral steps of both parts: leave out the sampler")

    @torch.inference_mode()
    def draw(
        self,
        draws: Draws,
        labels: Tensor | None,
        steps: int | None = None,
        guidance: float = 1.0,
        sampler: Sampling | None = None,
    ) -> Tensor:
        self.model.eval()
        return self.model.sample(draws, labels, USUAL_STEPS if steps is None else steps, guidance)
