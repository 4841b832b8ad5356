"""The flow family: an exact density trained by maximum likelihood (Rezende & Mohamed 2015; Dinh et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.data.dataset import Batch
from pushforward.data.format import Format
from pushforward.data.numbers import is_integer
from pushforward.data.pixels import Pixels
from pushforward.errors import UserError
from pushforward.flows.builders import coupling_nsf, image_flow, nsf
from pushforward.flows.flow import Flow
from pushforward.models.family import Density, Family
from pushforward.models.scoring import EXACT_UP_TO, Units
from pushforward.numerics.random import Draws


class FlowModel(Family):
    """A `Flow` of items of one shape, conditional on their classes if there are some.

    Whole numbers have no density: coordinates with a `cell` are spread uniformly over it in training, afresh each time,
    so that −loss bounds the log-probability of the numbers from below (Theis et al. 2016).

    Args:
        flow: of items (B, *shape); with classes, under conditions (B, num_classes), one-hot.
        shape: of one item, in model units.
        num_classes: how many classes there are, 0 for none.
        cell: width of the cell of each coordinate in model units (*shape), or one for all; 0 where it is continuous.
    """

    cell: Tensor
    initialised: Tensor
    discrete = False

    def __init__(self, flow: Flow, shape: Sequence[int], num_classes: int = 0, cell: Tensor | float = 0.0) -> None:
        super().__init__(shape, num_classes)
        if flow.base.shape.numel() != math.prod(self.shape):
            raise UserError(
                f"A flow with a base density of {flow.base.shape.numel()} numbers cannot be one of items of shape "
                f"{self.shape}."
            )
        self.flow = flow
        cells = torch.as_tensor(cell, dtype=torch.float32, device="cpu").expand(self.shape).clone()
        if not bool((cells >= 0).all()):
            raise UserError(f"Cells of whole numbers have a width of at least 0; got {float(cells.min()):g}.")
        self._counted = bool((cells > 0).any())
        self.register_buffer("cell", cells, persistent=False)
        self.register_buffer("initialised", torch.zeros((), dtype=torch.int64))
        self._ready = False

    # -- what is trained -------------------------------------------------------------------------------------------

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        """One: all parameters descend −log p."""
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """−log p(x + cell·u | class) in nats per dimension, u uniform on (−½, ½): (B,).

        The first call in training sets what is set from data (`ActNorm`) on its batch; that is stored with the weights.
        """
        x = self.spread(batch.values, draws.at("dequantise"))
        context = self._context(self.labels_of(batch), len(x))
        if self.training:
            self._initialise_once(x, context)
        return -self.flow.log_prob(x, context, draws.at("flow")) / math.prod(self.shape)

    def spread(self, x: Tensor, draws: Draws) -> Tensor:
        """x (B, *shape) with every coordinate that has a cell spread uniformly over it."""
        return x + self.cell * (draws.uniform(self.shape) - 0.5) if self._counted else x

    # -- what it is then -------------------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, labels: Tensor | None = None, draws: Draws | None = None) -> Tensor:
        """log p(x), or log p(x | class), exactly, in nats in model units: (B, *shape) -> (B,).

        A model with classes that is given none takes all as equally likely. `draws` are for continuous flows whose
        traces are estimated.
        """
        if labels is not None or not self.num_classes:
            return self.flow.log_prob(x, self._context(labels, len(x)), draws)
        each = [x.new_full((len(x),), i, dtype=torch.int64) for i in range(self.num_classes)]
        found = torch.stack([self.flow.log_prob(x, self._context(one, len(x)), draws) for one in each])
        return found.logsumexp(0) - math.log(self.num_classes)

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """log p of items in model units; whole numbers are spread over their cells by whoever asks."""
        estimated = math.prod(self.shape) > EXACT_UP_TO and self.flow.bijection.drawn(draws) is not self.flow.bijection
        nats = self.log_prob(x, labels, draws if estimated else None).double()
        mixed = f", {self.num_classes} classes equally likely" if self.num_classes and labels is None else ""
        how = "change of variables, one Hutchinson probe" if estimated else "exact change of variables"
        return Density(nats, torch.full_like(nats, math.nan if estimated else 0.0), how + mixed, "the data")

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """One batch of samples (len(draws), *shape), of these classes, or of classes drawn as equally likely."""
        if labels is None and self.num_classes:
            labels = draws.at("class").integers(self.num_classes)
        return self.flow.sample(draws.at("base"), self._context(labels, len(draws)))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Where the bijection carries items (B, *shape): in the base density, (B, D)."""
        return self.flow.bijection.given(self._context(labels, len(x))).forward(x)[0]

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Items (B, *shape) of what `encode` gives."""
        return self.flow.bijection.given(self._context(labels, len(z))).inverse(z)[0]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _context(self, labels: Tensor | None, count: int) -> Tensor | None:
        """Conditions (B, num_classes) of classes (B,)."""
        if not self.num_classes:
            if labels is not None:
                raise UserError("the model was trained without labels, so it cannot be asked for one")
            return None
        if labels is None:
            raise UserError(f"This flow knows {self.num_classes} classes; say of which each of the {count} items is.")
        _check_labels(labels, count, self.num_classes)
        return functional.one_hot(labels, self.num_classes).to(self.cell)

    def _initialise_once(self, x: Tensor, context: Tensor | None) -> None:
        # The device is asked once in a process's life: afterwards the answer cannot be no.
        if not self._ready and not bool(self.initialised):
            self.flow.initialise(x, context)
            self.initialised.fill_(1)
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                with torch.no_grad():  # every process has another part of the batch; the first one's counts
                    for tensor in self.flow.state_dict(keep_vars=True).values():
                        torch.distributed.broadcast(tensor, 0)
        self._ready = True


def flow_model(
    form: Format,
    num_classes: int = 0,
    *,
    width: int | None = None,
    layers: int | None = None,
    levels: int | None = None,
    autoregressive: bool = True,
) -> FlowModel:
    """The flow that fits a form of data.

    Images: `image_flow`, `layers` steps per level (4) of `width` channels (64). Vectors and tables: a neural spline
    flow of `layers` transforms (5) by perceptrons of two hidden layers of `width` units (128), autoregressive (the
    better density, samples feature by feature) or by couplings. Cells of whole numbers and the range of pixels are read
    from the form. `networks.budget.width_for` finds the width for a number of parameters.
    """
    shape = form.shape
    with torch.device("cpu"):  # numbers of the form, also where the model is made without its own
        cell = Units.of(form).cell
    if len(shape) == 3:
        steps, channels = 4 if layers is None else layers, 64 if width is None else width
        inner = image_flow(shape, levels, steps, channels, num_classes, bounds=_bounds(form, cell))
    else:
        if levels is not None:
            raise UserError(
                f"Levels are halvings of images, and the items here have the shape {shape}: leave them out."
            )
        make, hidden = nsf if autoregressive else coupling_nsf, (128 if width is None else width,) * 2
        inner = make(shape[0], 5 if layers is None else layers, hidden, num_classes)
    return FlowModel(inner, shape, num_classes, cell)


def _bounds(form: Format, cell: Tensor) -> tuple[float, float] | None:
    """Where pixels end in model units, their cells included; None where nothing says that they end."""
    coding = form.coding
    if not isinstance(coding, Pixels) or not (coding.clip or is_integer(coding.dtype)) or coding.high <= coding.low:
        return None
    end = (coding.high - coding.low) / (2 * coding.scale) + float(cell.max()) / 2
    return -end, end


def _check_labels(labels: Tensor, count: int, classes: int) -> None:
    if labels.shape != (count,) or labels.is_floating_point():
        raise UserError(
            f"Classes must be integers of shape ({count},), one per item, but were {labels.dtype} of shape "
            f"{tuple(labels.shape)}."
        )
    if labels.device.type != "cpu" or not count:
        return  # an accelerator would have to be waited for
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise UserError(f"The class {wrong} is outside 0 … {classes - 1}, the {classes} that this flow knows.")
