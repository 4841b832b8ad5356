"""A CARD model that speaks the user's columns: predictions with their uncertainty, in one stream of batches."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pushforward.card.classes import mean_width, nearest_corner, probabilities, published_rule, votes
from pushforward.card.draws import check_levels, quantiles, reached, sample_draws, spread_normals
from pushforward.data.checks import unused
from pushforward.data.pairing import Pairing
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.variance import VarianceTable, WithVariance, estimate_variances, squared_error
from pushforward.errors import NumericalError, UserError
from pushforward.metrics.certainty import paired_t_test, two_leading
from pushforward.models.card import Card
from pushforward.models.generator import Generator, Label, Samples
from pushforward.models.likelihood import ProbabilityFlow
from pushforward.models.scoring import solver_of
from pushforward.numerics.divergence import Exact
from pushforward.numerics.random import Draws
from pushforward.paths.grids import UniformLogSNR
from pushforward.samplers.default import USUAL_EVALUATIONS, Sampling

QUANTILES = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
SAMPLES = 100
"""Of each row, where nothing else is asked for."""
_AT_ONCE = 1 << 11
"""Samples computed together: what bounds the memory, whatever the number of rows."""
_ROWS = 1 << 8
"""Rows that f is asked of together."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Of N rows and R responses: mean and deviation (N, R), quantiles (N, Q, R), in the response's unit."""

    mean: np.ndarray
    deviation: np.ndarray
    levels: tuple[float, ...]
    quantiles: np.ndarray
    samples: np.ndarray | None = None
    """(N, S, R), where they were asked for."""

    def __len__(self) -> int:
        return len(self.mean)

    def columns(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Of each response its mean under its name, and with that in front its deviation, quantiles and draws: (N,)."""
        out: dict[str, np.ndarray] = {}
        for r, name in enumerate(names):
            told = {"sd": self.deviation} | {f"q{100 * q:g}": self.quantiles[:, i] for i, q in enumerate(self.levels)}
            if self.samples is not None:
                told |= {f"draw{i + 1}": self.samples[:, i] for i in range(self.samples.shape[1])}
            out[name] = self.mean[:, r]
            for what, values in told.items():  # a response may be called what another one's deviation would be
                out[unused(f"{name}_{what}", {*out, *names})] = values[:, r]
        return out

    def interval(self, coverage: float) -> np.ndarray:
        """The central interval (N, 2, R). Raises UserError where its quantiles were not asked for."""
        ends = [(1 - coverage) / 2, (1 + coverage) / 2]
        places = [next((i for i, q in enumerate(self.levels) if math.isclose(q, end)), None) for end in ends]
        if None in places:
            raise UserError(f"the quantiles of a coverage of {coverage:g} were not computed; there are {self.levels}")
        return np.asarray(self.quantiles[:, cast(list[int], places)])


@dataclass(frozen=True, eq=False)
class Classified:
    """Of N rows and K classes: probabilities, shares of votes, widths of 95 % intervals (N, K) and p-values (N,).

    The p-value is of a paired t-test between the two classes with most votes: above 0.05 the decision is not certain.
    Draws lie near the corners of the classes, so the 95 % interval of a class is as wide as can be once it has 2.5 %
    of them, however many more: `width` does not stop there.
    """

    probabilities: np.ndarray
    votes: np.ndarray
    widths: np.ndarray
    p_values: np.ndarray
    samples: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.votes)

    @property
    def width(self) -> np.ndarray:
        """Of the intervals of all coverages together, from 0, where a class is certain, to 1 − 1/K: (N,)."""
        return mean_width(self.probabilities)


@dataclass(frozen=True, eq=False)
class Predictor(Generator):
    """A CARD model with what its columns are. Rows are features in model units (N, inputs); f (N, R) may be given."""

    variance: VarianceTable | None = None

    @property
    def card(self) -> Card:
        """The model."""
        return cast(Card, self.model)

    @property
    def pairing(self) -> Pairing:
        """What is predicted from what."""
        return cast(Pairing, self.format.coding)

    @property
    def cells(self) -> np.ndarray:
        """The step within which the law of each response is spread, in its unit, 0 where it is not: (R,)."""
        if self.card.published:
            return np.zeros(self.card.outputs)
        return self.card.cells.double().cpu().numpy() * np.asarray(self.pairing.scale)

    def sample(self, n: int, **_: object) -> Samples:
        raise UserError("this run predicts the response of rows and makes no rows: `pushforward predict RUN rows.csv`")

    def label_indices(self, label: Label, n: int) -> Tensor | None:
        return None

    # -- samples -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def mean_of(self, x: Tensor) -> Tensor:
        """f(x): (N, R), in parts of one size, so that a row has the same alone."""
        self.card.mean.eval()
        parts = [self.card.mean(padded(part, _ROWS))[: len(part)] for part in x.to(self.card.device).split(_ROWS)]
        return torch.cat(parts).cpu()

    def stream(
        self,
        x: Tensor,
        count: int = SAMPLES,
        *,
        f: Tensor | None = None,
        seed: int = 0,
        evaluations: int = USUAL_EVALUATIONS,
        sampler: Sampling | None = None,
        spread: bool = True,
        at_once: int = _AT_ONCE,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Tensor]:
        """Responses in model units, some rows at a time: (n, count, R), never more than about `at_once` samples.

        Args:
            count: samples of each row; a row has the same alone, in any batch and in any order.
            f: the regression's values, where they come from elsewhere.
            evaluations, sampler: of the network per sample; by default few steps, or the published chain.
            spread: whether a row's samples are spread evenly over its law, which serves means and quantiles; else they
                are independent.
        """
        if not isinstance(count, numbers.Integral) or count < 1:
            raise UserError(f"the number of samples must be a whole number of at least 1; got {count}")
        self.card.eval()
        sampler = sampler or self.card.sampling(evaluations)
        mean, on, block = self.mean_of(x) if f is None else f, self.card.device, max(1, at_once // count)
        for start in range(0, len(x), block):
            stop = min(start + block, len(x))
            # of one size always: others are computed by other kernels, which would predict a row a little otherwise
            part, its = padded(x[start:stop], block).to(on), padded(mean[start:stop], block).to(on)
            found = self._samples(part, its, count, seed, evaluations, sampler, spread)[: stop - start]
            if not bool(found.isfinite().all()):
                raise NumericalError(
                    "the model's draws are not finite: was it trained for long enough, and on rows like these?"
                )
            yield found
            if progress:
                progress(stop, len(x))

    @torch.inference_mode()
    def _samples(
        self, x: Tensor, f: Tensor, count: int, seed: int, evaluations: int, sampler: Sampling, spread: bool
    ) -> Tensor:
        card, draws = self.card, sample_draws(x, count, seed)
        shape = (card.outputs,)
        z = spread_normals(draws, count, card.outputs) if spread else draws.at("prior").normal(shape)
        context = card.encode(x, f).repeat_interleave(count, 0)
        denoiser: Denoiser = card.denoiser().given(context=context)
        if self.variance is not None:
            denoiser = WithVariance(denoiser, self.variance)
        there = Draws(draws.base.to(x.device), draws.index.to(x.device))
        r = sampler.sample(denoiser, card.path.prior(z.to(x.device)), evaluations, there)
        return (f[:, None] + card.scale * r.reshape(len(x), count, -1)).cpu()

    def with_variance(
        self, x: Tensor, y: Tensor, f: Tensor | None = None, rows: int = 256, levels: int = 25
    ) -> Predictor:
        """The predictor whose denoiser knows Var[r | r_t], measured on held-out rows: for analytic samplers.

        x (N, inputs), y (N, R), in model units.
        """
        card, some = self.card.eval(), slice(0, rows)
        mean = self.mean_of(x[some]) if f is None else f[some]
        x, y, mean = (values.to(card.device) for values in (x[some], y[some], mean))
        with torch.no_grad():
            context = card.encode(x, mean)
        grid = UniformLogSNR(to_clean=False)(card.path, levels - 1)
        draws = Draws.of(0, range(len(context)), "variance", card.device)
        table = estimate_variances(
            card.denoiser(),
            (y - mean) / card.scale,
            grid,
            draws,
            conditions={"context": context},
            estimator=squared_error,
        )
        return Predictor(self.model, self.format, table)

    # -- what is made of them ------------------------------------------------------------------------------------

    def predict(
        self,
        x: Tensor,
        *,
        samples: int = SAMPLES,
        levels: Sequence[float] | None = None,
        keep: bool = False,
        **how: object,
    ) -> Prediction:
        """Mean, deviation and quantiles of each row's response; with `keep` the samples too. `how` as for `stream`.

        Where no levels are given they are those of `QUANTILES` that so many samples reach.
        """
        if levels is None:
            levels = reached(QUANTILES, samples) if isinstance(samples, numbers.Integral) else QUANTILES
        else:
            check_levels(levels, samples)
        if self.card.classify:
            raise UserError("this model predicts classes: ask for their probabilities")
        means, deviations, ends, kept = [], [], [], []
        evenly = how.get("spread", True) is True and how.get("sampler") is None and not self.card.published
        for part in self.stream(x, samples, **how):  # type: ignore[arg-type]
            wide = part.double()
            means.append(wide.mean(1))
            # draws that are spread evenly do not share the error of their mean, which n − 1 makes up for
            deviations.append(wide.std(1, correction=0 if evenly or samples == 1 else 1))
            ends.append(quantiles(wide, levels, evenly))
            if keep:
                kept.append(part)
        scale, decode = np.asarray(self.pairing.scale), self.pairing.decode_responses
        return Prediction(
            decode(torch.cat(means)),
            torch.cat(deviations).numpy() * scale,
            tuple(levels),
            decode(torch.cat(ends)),
            decode(torch.cat(kept)) if keep else None,
        )

    def classify(self, x: Tensor, *, samples: int = SAMPLES, keep: bool = False, **how: object) -> Classified:
        """Probabilities, votes and certainty of each row's class. `how` as for `stream`."""
        if not self.card.classify:
            raise UserError("this model predicts numbers: ask for their mean and quantiles")
        rule = published_rule if self.card.published else nearest_corner
        temperature, p, counts, width, certain, kept = float(self.card.temperature), [], [], [], [], []
        for part in self.stream(x, samples, **how):  # type: ignore[arg-type]
            p.append(probabilities(part, temperature, rule))
            counts.append(votes(part, rule))
            values = -((part - 1) ** 2) if self.card.published else part
            ends = torch.quantile(values, torch.tensor([0.025, 0.975]), dim=1)
            width.append(ends[1] - ends[0])
            each = rule(part, max(temperature, 0.1)).numpy()
            certain.append(paired_t_test(each, two_leading(counts[-1].numpy())) if samples > 1 else np.ones(len(part)))
            if keep:
                kept.append(part)
        return Classified(
            torch.cat(p).double().numpy(),
            torch.cat(counts).double().numpy() / samples,
            torch.cat(width).double().numpy(),
            np.concatenate(certain),
            torch.cat(kept).numpy() if keep else None,
        )

    @torch.no_grad()
    def log_prob(
        self, x: Tensor, y: Tensor, *, f: Tensor | None = None, evaluations: int = 100, at_once: int = 1024
    ) -> np.ndarray:
        """log p(y | x) of each row, exact for the model, nats in the response's unit: y (N, R) in model units."""
        if self.card.classify:
            raise UserError("classes have probabilities and no density: ask for log-probabilities of classes")
        card, found = self.card.eval(), []
        for rows in torch.arange(len(x)).split(at_once):
            part = x[rows].to(card.device)
            mean = (self.mean_of(x[rows]) if f is None else f[rows]).to(card.device)
            residual = (y[rows].to(card.device) - mean) / card.scale
            flow = ProbabilityFlow(card.given(part, mean), card.moments, solver_of(evaluations), chunk=at_once)
            found.append(flow.log_prob(residual, Exact(16)).nats.cpu())
        unit = torch.log(card.scale.double().cpu()).sum() + math.log(math.prod(self.pairing.scale))
        return (torch.cat(found) - unit).numpy()


def padded(x: Tensor, rows: int) -> Tensor:
    """With the last row repeated: (n, …) -> (rows, …)."""
    return x if len(x) == rows else torch.cat((x, x[-1:].expand(rows - len(x), *x.shape[1:])))
