"""The sections of a report on an autoencoder: what it keeps of an item, and what each of its latents does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pushforward.models.vae import VAE
from pushforward.models.vq import VQAutoencoder
from pushforward.numerics.random import Draws
from pushforward.report.markup import Html
from pushforward.report.page import Section, figure, picture, table
from pushforward.report.pictures import filmstrip
from pushforward.report.scales import number
from pushforward.report.subject import Subject
from pushforward.report.svg import Axes, Series, line_chart
from pushforward.vae.joint import Terms

_BLACK_TO_WHITE = (0.0, 255.0)
_ITEMS = 512  # that figures are averages over
_VALUES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@runtime_checkable
class Reconstructs(Protocol):
    """A model that takes items apart and puts them together again."""

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is left of x (B, *shape)."""
        ...


def _held_out(subject: Subject, count: int) -> tuple[Tensor, Tensor | None, str]:
    """Items of the test split, or of the training split where none were held out; classes where the model has them."""
    split, words = (subject.data.test, "held out") if len(subject.data.test) else (subject.data.train, "trained on")
    batch = split.batch(np.arange(min(count, len(split)))).to(subject.generator.model.device)
    return batch.values, batch.labels if subject.generator.model.num_classes else None, words


@torch.no_grad()
def reconstructions(subject: Subject) -> Section | None:
    """Items above what the model makes of them, or the error column by column; None for a model that keeps nothing."""
    model = subject.generator.model
    if not isinstance(model, Reconstructs):
        return None
    x, labels, words = _held_out(subject, _ITEMS)
    made = model.eval().reconstruct(x, labels)
    error, spread = (float(d.square().mean().sqrt()) for d in (made - x, x - x.mean(0)))
    told = (
        f"The root mean square error of {len(x)} items is {number(error)} in model units, against {number(spread)} if "
        "every item were replaced by the average one. What is lost here no sample can have."
    )
    shown = _strip(subject, x, made) if subject.is_image else _columns(subject, x, made)
    return Section(
        "What the code keeps",
        [f"Items that were {words} go through the encoder to a code and back.", shown, told],
    )


def _strip(subject: Subject, x: Tensor, made: Tensor) -> Html:
    tiler, count = subject.tiler, min(8 if subject.tiler.few else 12, len(x))
    rows = [tiler.of_units(values[:count].cpu()) for values in (x, made)]
    return picture(
        filmstrip(rows, None, ["item", "again"], _BLACK_TO_WHITE, tiler.size),
        f"{count} images above what is left of them after encoding and decoding",
        "Above, an image; below, the same one after it went through its code. Details that differ are not in the code.",
    )


def _columns(subject: Subject, x: Tensor, made: Tensor) -> Html:
    error, spread = ((d**2).mean(0).sqrt().cpu() for d in (made - x, x - x.mean(0)))
    names = subject.generator.format.columns or [f"x{i + 1}" for i in range(x.shape[1])]
    varying = names if len(names) == x.shape[1] else [f"x{i + 1}" for i in range(x.shape[1])]
    cells = [[name, number(float(e)), number(float(s))] for name, e, s in zip(varying, error, spread, strict=True)]
    return table(
        ["Column", "Error", "Spread"],
        cells[:24],
        "Root mean square error of each column, in model units, beside its standard deviation: where both are alike, "
        "the code holds nothing of the column.",
        numeric=(1, 2),
    )


@torch.no_grad()
def latents(subject: Subject) -> Section | None:
    """How many nats the code holds, and what moving each of the busiest latents does; None for other families."""
    model = subject.generator.model
    if not isinstance(model, VAE):
        return None
    x, labels, _ = _held_out(subject, _ITEMS)
    draws = Draws.of(subject.evaluation.seed, range(len(x)), "latents", x.device)
    terms = model.eval().terms(x, labels, draws)
    order = busiest(model, x, labels)
    shown = order[: min(8, len(order))]
    parts = [_told(terms, len(order)), *([_usage(terms)] if terms.divergence.shape[1] > 1 else [])]
    middle, label = (
        model.encode(x[:1], None if labels is None else labels[:1])[0],
        None if labels is None else labels[0],
    )
    found = model.traversal(middle, _VALUES, shown, None if label is None else int(label))
    return Section("What each latent does", [*parts, _traversal(subject, found, shown)])


def busiest(model: VAE, x: Tensor, labels: Tensor | None = None) -> list[int]:
    """The latents by how far their middle moves from item to item, the furthest first."""
    return model.encode(x, labels).var(0, correction=0).argsort(descending=True).tolist()


def _told(terms: Terms, count: int) -> str:
    kl, fit = float(terms.divergence.sum(1).mean()), float(terms.log_likelihood.mean())
    return (
        f"The bound on log p(x) of held-out items is {number(fit - kl)} nats: {number(fit)} for how well an item is "
        f"described given its code, less {number(kl)} that the code of {count} latents costs, KL(q‖p)."
    )


def _usage(terms: Terms) -> Html:
    nats = terms.divergence.mean(0).sort(descending=True).values.cpu()
    active = int((nats > 0.01).sum())
    chart = line_chart(
        [Series("latents", [float(i + 1) for i in range(len(nats))], nats.tolist())],
        Axes("latents, busiest first", "KL in nats"),
        "Nats in each latent",
        f"{active} of {len(nats)} latents hold more than 0.01 nats.",
    )
    return figure(
        chart,
        f"{active} of {len(nats)} latents hold more than 0.01 nats; the decoder ignores the others. That is how a code "
        "finds its size. If nearly all are empty, the code has collapsed: a warm-up of the divergence or free bits may "
        "help.",
    )


def _traversal(subject: Subject, found: Tensor, shown: list[int]) -> Html:
    names = [f"z{i + 1}" for i in shown]
    if not subject.is_image:
        return _curves(subject, found, names)
    tiler = subject.tiler
    strip = filmstrip(
        [tiler.of_units(row.cpu()) for row in found],
        [f"{value:+.0f}" if value else "0" for value in _VALUES],
        names,
        _BLACK_TO_WHITE,
        tiler.size,
    )
    return picture(
        strip,
        f"One image with one of {len(shown)} latents at a time moved from −3 to 3",
        "One image's code, in each row with another of the busiest latents set to the values above, all others left as "
        "they are. A latent's row shows what it stands for; under the prior nearly all values lie between −3 and 3.",
    )


def _curves(subject: Subject, found: Tensor, names: list[str]) -> Html:
    """The column that the busiest latents move most, against their value."""
    moved = (found.amax(1) - found.amin(1)).amax(0)
    column = int(moved.argmax())
    columns = subject.generator.format.columns
    name = columns[column] if columns and len(columns) == found.shape[2] else f"x{column + 1}"
    series = [Series(z, list(_VALUES), row[:, column].tolist()) for z, row in zip(names, found.cpu(), strict=True)]
    words = f"{name}, in model units, as one latent at a time of one item's code is moved from −3 to 3."
    return figure(line_chart(series, Axes("value of the latent", name), f"{name} against each latent", words), words)


@torch.no_grad()
def codes(subject: Subject) -> Section | None:
    """How many of the codes are used, how evenly, and what the learned law of them saves; None for other families."""
    model = subject.generator.model
    if not isinstance(model, VQAutoencoder):
        return None
    x, labels, words = _held_out(subject, _ITEMS)
    found = model.eval().encode(x)
    count, places = model.quantiser.codes, model.grid[0] * model.grid[1]
    used, perplexity = model.quantiser.usage(found)
    cost = -float(model.log_prior(found, labels).mean()) / math.log(2)
    plain = places * math.log2(count)
    shares = torch.bincount(found.flatten(), minlength=count).sort(descending=True).values.double() / found.numel()
    chart = line_chart(
        [Series("codes", [float(i + 1) for i in range(count)], (100 * shares).tolist())],
        Axes("codes, most used first", "% of places"),
        "How often each code is used",
        f"{used} of {count} codes occur.",
    )
    lost = " Many are never used: fewer codes, or a higher share at which one begins anew, may help." * (
        used < count / 2
    )
    return Section(
        "Which codes are used",
        [
            f"An item is {places} of {count} codes. Of {len(x)} items that were {words}, {number(cost)} bits name the "
            f"codes of one under the law of codes that was learned, which draws the samples; {number(plain)} bits if "
            "all codes were equally likely everywhere.",
            figure(
                chart, f"{used} of {count} codes occur; they are as varied as {number(perplexity)} even ones.{lost}"
            ),
        ],
    )


def autoencoder_sections(subject: Subject) -> Iterator[Section | None]:
    """All sections on what an autoencoder's code holds, in their order."""
    yield reconstructions(subject)
    yield latents(subject)
    yield codes(subject)
