"""The sections of a report on texts: what is generated beside what is real, and gaps filled in."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pushforward.data.tokens import Tokens
from pushforward.models.symbols import SymbolGenerator
from pushforward.numerics.random import Draws
from pushforward.report.page import Section, code, row, table
from pushforward.report.subject import Subject

_SHOWN, _FILLED = 6, 4


def text_sections(subject: Subject) -> Iterator[Section]:
    """Samples beside held-out texts; held-out texts with their middle filled in."""
    yield _beside(subject)
    if isinstance(subject.generator, SymbolGenerator):
        yield _filled(subject)


def _beside(subject: Subject) -> Section:
    made = [str(text) for text in subject.samples.values[:_SHOWN]]
    real = texts_of(subject, _SHOWN)
    pairs = [row(code(ours), code(theirs)) for ours, theirs in zip(made, real, strict=False)]
    return Section("Real beside generated", ["Generated on the left, held-out texts on the right.", *pairs])


def texts_of(subject: Subject, most: int) -> list[str]:
    """Held-out texts, of the training split where there are none."""
    split = subject.data.test if len(subject.data.test) else subject.data.train
    return [_coding(subject).text(units) for units in split.values[: min(most, len(split))]]


def _filled(subject: Subject) -> Section:
    coding, generator = _coding(subject), subject.generator
    assert isinstance(generator, SymbolGenerator)
    split = subject.data.test if len(subject.data.test) else subject.data.train
    count = min(_FILLED, len(split))
    truth = split.batch(list(range(count))).values
    middle = slice(coding.length * 3 // 8, coding.length * 5 // 8)
    where = torch.ones_like(truth, dtype=torch.bool)
    where[:, middle] = False
    device = generator.model.device
    with torch.inference_mode():
        labels = generator.label_indices(None, count)
        made = generator.model.sample(
            Draws.of(0, range(count), "filled", device=device),
            None if labels is None else labels.to(device),
            known=truth.to(device),
            where=where.to(device),
        ).cpu()
    cells = [
        [str(part) for part in coding.decode(torch.stack([each[middle] for each in (truth[i], made[i])]))]
        + [str(coding.decode(truth[i : i + 1])[0])]
        for i in range(count)
    ]
    right = float((made == truth)[:, middle].double().mean())
    return Section(
        "Gaps filled in",
        [
            "The middle quarter of held-out texts is hidden and drawn again, given what stands before and after it.",
            table(
                ["hidden", "drawn", "the whole text"], cells, f"{100 * right:.0f} % of the hidden symbols are the same."
            ),
        ],
    )


def _coding(subject: Subject) -> Tokens:
    coding = subject.generator.format.coding
    assert isinstance(coding, Tokens)
    return coding
