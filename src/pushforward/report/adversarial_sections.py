"""The section of a report on adversarial training: who was ahead, what was covered, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pushforward.gan.diagnostics import advice, expected_coverage, recent_figures
from pushforward.models.gan import GAN
from pushforward.report.markup import Html, tag
from pushforward.report.page import Section, figure, table
from pushforward.report.scales import number
from pushforward.report.subject import Subject
from pushforward.report.svg import Axes, Series, line_chart, smoothed

Entry = Mapping[str, Any]

_MANY = 1000
_MEANINGS = (
    (
        "accuracy",
        "discriminator is right",
        "½ to 0.9",
        "Share of pairs in which the real item is judged more real than the generated one. Near 1 the discriminator "
        "has won, and its advice is worth little.",
    ),
    (
        "saturation",
        "discriminator saturated",
        "below ½",
        "Share of pairs from which the discriminator learns no more: its gradient is below a fiftieth of what it was.",
    ),
    (
        "generator_saturation",
        "generator saturated",
        "below ½",
        "Share of generated items from which the generator gets no gradient.",
    ),
    (
        "coverage",
        "modes covered",
        f"{expected_coverage(_MANY):.2f}",
        "Share of real items of a batch that have a generated one as near as their fifth real neighbour. Less means "
        "that kinds of items are missing.",
    ),
    (
        "diversity",
        "diversity",
        "1",
        "How far generated items lie from one another, in units of real ones. Near 0 the generator repeats itself.",
    ),
)
"""Figures of the log: name, as it is shown, value where all is well, meaning."""


def game(subject: Subject) -> Section | None:
    """Curves of what the players told, their last values, and advice; None for other families or without a log."""
    entries = [entry for entry in subject.log if entry.get("figures")]
    if not isinstance(subject.generator.model, GAN) or not entries:
        return None
    told = advice(subject.log)
    return Section(
        "How the game went",
        [
            "Generator and discriminator train one another, so that their losses balance at any quality and say "
            "little. What they tell apart, what they still learn, and how much of the data is covered says more.",
            *(
                ["What the log advises:", tag("ul", *(tag("li", sentence) for sentence in told))]
                if told
                else ["The last entries of the log give no cause for concern: no advice."]
            ),
            figure(_shares(entries), "Figures of single batches, running means; what they mean is below."),
            figure(
                _gradients(entries),
                "The size of each player's gradient (logarithmic). It may fall or waver; one that climbs by factors of "
                "ten is exploding, and the samples get worse from there on.",
            ),
            _table(subject),
        ],
    )


def _curve(name: str, points: Sequence[tuple[float, float]], colour: int) -> Series:
    raw = Series(name, [x for x, _ in points], [y for _, y in points], colour=colour)
    return smoothed(raw, max(0.3, len(points) / 60))


def _shares(entries: Sequence[Entry]) -> Html:
    series = []
    for i, (name, shown, *_) in enumerate(_MEANINGS):
        points = [(e["step"], e["figures"][name]) for e in entries if e["figures"].get(name) is not None]
        if points:
            series.append(_curve(shown, points, i))
    return line_chart(
        series,
        Axes("step", "share"),
        "Accuracy, saturation, coverage and diversity during training",
        "The running mean of each figure against the step.",
        (760, 300),
    )


def _gradients(entries: Sequence[Entry]) -> Html:
    names = [name for name in entries[-1] if name.startswith("gradient_norm")]
    series = []
    for i, name in enumerate(names):
        points = [(e["step"], e[name]) for e in entries if e.get(name)]
        if points:
            series.append(_curve(name.partition("/")[2] or "model", points, i))
    return line_chart(
        series,
        Axes("step", "gradient norm", log_y=True),
        "Gradient norms of the two players during training",
        "The running mean of each norm against the step, on a logarithmic axis.",
        (760, 220),
    )


def _table(subject: Subject) -> Html:
    last = recent_figures(subject.log)
    rows = [[shown, number(last[name], 2), well, meaning] for name, shown, well, meaning in _MEANINGS if name in last]
    return table(
        ["Figure", "At the end", "Where all is well", "Meaning"],
        rows,
        "Means over the last entries of the log. Coverage and precision of finished samples, on all held-out items, "
        "are in the table of figures.",
        numeric=(1,),
    )


def adversarial_sections(subject: Subject) -> Iterator[Section | None]:
    """All sections that only adversarial models have."""
    yield game(subject)
