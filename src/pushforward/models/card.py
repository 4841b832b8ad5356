"""CARD assembled: a regression f(x) and a denoiser of the residual y − f(x), which is told x and f(x)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.card.chain import chain_levels
from pushforward.card.means import Given, Mean, usual_mean
from pushforward.card.published import PublishedMean, PublishedNetwork
from pushforward.data.dataset import Batch, Split
from pushforward.data.pairing import Pairing
from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.precondition import EDMPrediction, NoisePrediction, Prediction, TableIndex, log_noise
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.models.family import Family
from pushforward.networks.context import ContextMLP
from pushforward.numerics.random import Draws
from pushforward.objectives.denoising import denoising_loss
from pushforward.paths.table import Table, linear_betas
from pushforward.paths.times import LogNormalTimes, Stratified, TimeLaw, UniformLevels
from pushforward.samplers.ancestral import DDPM
from pushforward.samplers.default import USUAL_EVALUATIONS, Sampling, default_sampler
from pushforward.samplers.step import Observer, simulate

_LEAST_PROBABILITY, _LOG_UNIT = 1e-4, 3.0
"""Of a class, as the network is told it, and the unit of its logarithm: from −3 to 0."""
_LEAST_SCALE = 1e-4
"""Of a residual, in standard deviations of the response: below, f is exact and there is nothing to learn."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Items held as one tensor."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, indices: Tensor) -> Batch:
        """The items with these indices."""
        return Batch(self.values[indices])


@dataclass(frozen=True, eq=False)
class PublishedSampling:
    """The published chain: every level of the table, with fresh variance β̃, ending with the estimate of y_0."""

    table: Table

    def sample(
        self, denoiser: Denoiser, x: Tensor, evaluations: int, draws: Draws, observe: Observer | None = None
    ) -> Tensor:
        """Move x: (B, …) down all levels; the number of evaluations is that of the table."""
        return simulate(denoiser, DDPM, x, chain_levels(self.table), draws, observe=observe)


class Card(Family):
    """p(y | x) as f(x) + s · r with r drawn by a diffusion model that knows x and f(x) (Han et al. 2022).

    On the residual the chain of the paper is the variance-preserving table, so all samplers, the analytic variance and
    the exact likelihood of the library work on it. Items are [y | x] in model units; those it trains on [y | f | x].

    Args:
        mean: f, fitted by `prepare`.
        network: `net(x, time, context)` with `encode(context)`.
        path, prediction, times, time: as for any denoiser; `time` is what the network is told of a level.
        pairing: what the columns are.
        published: as in the paper: residuals keep their scale, the network is told the index of a level, and the
            whole chain of the table is sampled.
        log_probabilities: of classes, whether the network is told the logarithms of f, in which small ones differ.
    """

    cells: Tensor
    scale: Tensor
    centre: Tensor
    covariance: Tensor
    temperature: Tensor
    tells_variance = False  # what samplers ask of a denoising family

    def __init__(
        self,
        mean: Mean,
        network: nn.Module,
        path: Table,
        prediction: Prediction,
        times: TimeLaw,
        pairing: Pairing,
        *,
        published: bool = False,
        log_probabilities: bool = False,
    ) -> None:
        super().__init__(pairing.shape)
        self.mean, self.network, self.path = mean, network, path
        self.prediction, self.times, self.published = prediction, times, published
        self.outputs, self.inputs, self.classify = pairing.outputs, pairing.inputs, pairing.classes is not None
        self.log_probabilities = log_probabilities and self.classify
        self.register_buffer("cells", torch.tensor(pairing.cells, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(self.outputs))
        self.register_buffer("centre", torch.zeros(self.outputs, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(self.outputs, dtype=torch.float64))
        self.register_buffer("temperature", torch.ones(()))

    # -- training ------------------------------------------------------------------------------------------------

    def prepare(self, train: Split, validation: Split, seed: int = 0) -> tuple[Rows, Rows]:
        """Fit f where it is not yet, and give the items to train on and to validate with."""
        both = torch.cat([split.all().values for split in (train, validation) if len(split)])
        y, x = both.split((self.outputs, self.inputs), 1)
        if not bool(self.mean.fitted):
            self.mean.fit(x, y, seed)
            return self.prepared(y, x, len(train))
        return self.prepared(y, x, len(train), measure=False)

    @torch.no_grad()
    def prepared(
        self, y: Tensor, x: Tensor, train: int, f: Tensor | None = None, measure: bool = True
    ) -> tuple[Rows, Rows]:
        """Items [y | f | x], the first `train` of them to train on; residuals are measured on all. f: (N, R)."""
        self.mean.eval()
        f = self.mean.out_of_fold(x.to(self.device), y.to(self.device)).to(y.device) if f is None else f
        if measure:
            self._measure(y - f)
        rows = torch.cat((y, f, x), 1)
        return Rows(rows[:train]), Rows(rows[train:])

    def _measure(self, residual: Tensor) -> None:
        """Scale, mean and covariance of the residuals that the denoiser is to learn, and what was rounded.

        A response that was not rounded (`_rounded`) takes values of its own, and is not spread over cells.
        """
        size = residual.double().square().mean(0).sqrt()
        self.cells.copy_(torch.where(_rounded(residual.double(), self.cells.double()), self.cells, 0.0))
        if not self.published:
            self.scale.copy_(
                (size.square().mean().sqrt().expand_as(size) if self.classify else size).clamp(_LEAST_SCALE)
            )
        r = residual.double() / self.scale.double()
        self.centre.copy_(r.mean(0))
        centred = r - r.mean(0)
        cell = (self.cells.double() / self.scale.double()).square() / 12
        self.covariance.copy_(centred.T @ centred / len(r) + torch.diag(cell + 1e-6))

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        return {"loss": self.network.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """The denoising loss of the residual, one level and one noise per item: (B,)."""
        y, f, x = batch.values.split((self.outputs, self.outputs, self.inputs), 1)
        if self.mean.live and self.training:
            with torch.no_grad():
                f = self.mean(x)
        if not self.published:  # what is written with few decimals is spread over them, or its density has no bound
            y = y + self.cells * (draws.at("cell").uniform((self.outputs,)) - 0.5)
        return denoising_loss(self.given(x, f), (y - f) / self.scale, draws, self.times)

    # -- prediction ----------------------------------------------------------------------------------------------

    def denoiser(self) -> NetworkDenoiser:
        """The denoiser of residuals, no row bound."""
        time = TableIndex(len(self.path)) if self.published else log_noise
        return NetworkDenoiser(self.path, self.network, self.prediction, time, accepts=("context",))

    def given(self, x: Tensor, f: Tensor) -> NetworkDenoiser:
        """The denoiser of the residuals of rows x (B, F) with f (B, R)."""
        return self.denoiser().given(context=self.encode(x, f))

    def encode(self, x: Tensor, f: Tensor) -> Tensor:
        """What the network is told of rows."""
        if self.log_probabilities:
            f = f.clamp(min=_LEAST_PROBABILITY).log() / _LOG_UNIT
        encode = self.network.encode
        assert callable(encode)
        found = encode(torch.cat((f, x), 1))
        assert isinstance(found, Tensor)
        return found

    def sampling(self, evaluations: int = USUAL_EVALUATIONS) -> Sampling:
        """The published chain in the published setting; else few steps of the probability flow, which is not biased."""
        return PublishedSampling(self.path) if self.published else default_sampler(self.path, evaluations, 1.0)

    @property
    def moments(self) -> Moments:
        """Of the residuals in the denoiser's units, pooled over rows."""
        return Moments.of(self.centre, self.covariance)

    @property
    def deviation(self) -> Tensor:
        """Of the residuals from 0, in model units, also where they keep their scale: (R,)."""
        size = (self.centre.square() + self.covariance.diagonal()).sqrt()
        return self.scale.double() * size if self.published else self.scale.double()

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        raise UserError("this model predicts a response of rows and makes no rows: `predict RUN rows.csv`")

    @property
    def device(self) -> torch.device:
        return self.scale.device


def _rounded(residual: Tensor, cells: Tensor) -> Tensor:
    """Whether responses written in steps of `cells` were rounded to them: residuals float64 (N, R), cells (R,) -> (R,).

    What was rounded is told no better than by the deviation of its rounding, cell/√12, and f, which finds what it was,
    lies anywhere within the steps: residuals in units of the cell have no phase. Where f tells the response to half a
    step and they have one, by four standard errors, f finds the steps themselves. A response of few steps (a deviation
    of less than two) is not judged so, as an f that hardly varies lies at the same place of all of them.
    """
    size = residual.square().mean(0).sqrt()
    phase = torch.cos(2 * math.pi * residual / cells.clamp(min=1e-300)).mean(0)
    finds = (size <= cells / 2) & (cells < 0.5) & (phase > 4 / math.sqrt(2 * len(residual)))
    return ~((size <= cells / 12**0.5) | finds)


def usual_card(
    pairing: Pairing,
    *,
    small: bool = True,
    mean: Mean | None = None,
    folds: int | None = None,
    width: int = 128,
    depth: int = 2,
    dropout: float = 0.1,
    feature_dropout: float = 0.0,
    levels: int = 1000,
    log_probabilities: bool = True,
) -> Card:
    """CARD as it is by default: cross-fitted mean, residuals of unit deviation, one preconditioned network.

    `small` says that there are few rows, so that f may be fitted by methods that take long on many;
    `folds` are those that f is cross-fitted in: 10 where there are few rows, else 5.
    """
    mean = mean or usual_mean(pairing.inputs, pairing.outputs, pairing.classes is not None, small, folds)
    told = pairing.outputs + pairing.inputs
    network = ContextMLP(pairing.outputs, told, width, depth, dropout, feature_dropout)
    path = _table(levels, 0.1 / levels, 20 / levels)
    times = Stratified(LogNormalTimes(sigma_data=1.0))
    return Card(mean, network, path, EDMPrediction(1.0), times, pairing, log_probabilities=log_probabilities)


def published_card(
    pairing: Pairing, *, mean: Mean | None = None, dropout: float = 0.0, levels: int = 1000, last: float = 0.02
) -> Card:
    """CARD as in the paper's experiments on tables; `dropout` is that of f, which differs from table to table there."""
    mean = mean or PublishedMean(pairing.inputs, pairing.outputs, pairing.classes is not None, dropout=dropout)
    network = PublishedNetwork(pairing.outputs, pairing.outputs + pairing.inputs, levels)
    path = _table(levels, 1e-4, last)
    times = Stratified(UniformLevels(levels))
    return Card(mean, network, path, NoisePrediction(1.0), times, pairing, published=True)


def _table(levels: int, first: float, last: float) -> Table:
    """Linear β. A table is numbers, also where the model is made without its own."""
    with torch.device("cpu"):
        return Table.of_betas(linear_betas(levels, first, last))


def given_mean(pairing: Pairing) -> Given:
    """A place for an f from elsewhere."""
    return Given(pairing.inputs, pairing.outputs, pairing.classes is not None)
