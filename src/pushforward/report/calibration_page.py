"""The page of a calibration: ranks, coverage, residuals and a scale that makes intervals right."""

from __future__ import annotations

from typing import Any

from pushforward.posterior import Calibration, OnItems, Ranks, Stein
from pushforward.report.markup import Html
from pushforward.report.page import Figure, Page, Section, Verdict, cards, figure, row, table
from pushforward.report.scales import number
from pushforward.report.svg import Axes, Series, histogram, line_chart

_BINS = 10
_LEVEL = 0.01


def calibration_page(found: Calibration, title: str) -> Page:
    """The page; its verdict is that of the model's own items, where only the sampler can be wrong."""
    good = passes(found.drawn)
    text = (
        f"On {found.items} items that the model drew itself, draws by {found.method} cannot be told from those of the "
        "posterior."
        if good
        else f"On items that the model drew itself, draws by {found.method} can be told from those of the posterior: "
        "its intervals are wrong as they are."
    )
    if not good and found.levels is not None and found.levels.p_value < _LEVEL:
        text += (
            f" But the model's own levels of noise disagree as well (p {number(found.levels.p_value)}), so that "
            "methods that move from level to level answer for no one law: train it for longer, or on more data, before "
            "another is tried; chains through its sampler (flow) are exact for what it draws."
        )
    lead = cards(
        Figure(f"{found.drawn.curve.at(0.9):.1%}", "of values held by 90 % intervals", "items of the model"),
        Figure(f"{found.true.curve.at(0.9):.1%}", "of values held by 90 % intervals", "true items"),
        Figure(f"{found.held:.1%}", "held once scaled", f"by {number(found.scale.scale)} deviations, on other items"),
        Figure(number(found.evaluations), "evaluations per draw", f"{number(found.seconds)} s in all"),
    )
    return Page(
        f"Calibration: {title}",
        f"{found.method}, {found.samples} draws of each of {found.items} items, twice",
        Verdict(text, good),
        [_ranks(found), _coverage(found), _residuals(found), *_stein(found), *_levels(found), _scale(found)],
        [lead],
    )


def passes(found: OnItems) -> bool:
    """Whether neither ranks nor residuals tell the draws from right ones, at the level of 1 %."""
    return found.ranks.passes(_LEVEL) and (found.residuals is None or found.residuals.passes(_LEVEL))


def calibration_values(found: Calibration) -> dict[str, Any]:
    """The page's numbers as plain JSON."""

    def of(items: OnItems) -> dict[str, Any]:
        tests = () if items.residuals is None else items.residuals.tests
        return {
            "calibrated": passes(items),
            "ranks": items.ranks.p_values(),
            "coverage": dict(zip(map(str, items.curve.levels), items.curve.covered, strict=True)),
            "residuals": {t.name: {"value": t.value, "expected": t.expected, "p": t.p_value} for t in tests},
            "stein": None if items.stein is None else {"share": _told(items.stein), "p": items.stein.combined},
        }

    return {
        "method": found.method,
        "items": found.items,
        "samples": found.samples,
        "evaluations": found.evaluations,
        "seconds": round(found.seconds, 2),
        "drawn": of(found.drawn),
        "true": of(found.true),
        "levels": None
        if found.levels is None
        else {test.name: {"drift": test.value, "p": test.p_value} for test in found.levels.tests},
        "scale": found.scale.scale,
        "level": found.scale.level,
        "held": found.held,
        "plain": found.plain,
    }


def _ranks(found: Calibration) -> Section:
    sum_, last = found.drawn.ranks.names.index("sum"), len(found.drawn.ranks.names) - 1
    charts = [
        figure(_histogram(items.ranks, column), f"{items.ranks.names[column]}, {who}")
        for who, items in (("items of the model", found.drawn), ("true items", found.true))
        for column in dict.fromkeys((sum_, last))
    ]
    rows = [
        [name, number(found.drawn.ranks.p_values()[name]), number(found.true.ranks.p_values()[name])]
        for name in found.drawn.ranks.names
    ]
    return Section(
        "Where the truth stands among the draws",
        [
            "If draws are right, the truth is one of them: each of its numbers is as likely to be the smallest as the "
            "middle one. A hump in the middle tells draws that are too wide, two humps at the ends draws that are too "
            "sure, a slope a bias. A p-value below 0.01 is a finding.",
            row(*charts[:2]),
            row(*charts[2:]),
            table(["number", "p, items of the model", "p, true items"], rows, numeric=(1, 2)),
        ],
    )


def _histogram(ranks: Ranks, column: int) -> Html:
    title = f"Ranks of {ranks.names[column]}"
    values = ranks.uniforms()[:, column].tolist()
    words = f"Shares of items by the rank of the truth among {ranks.draws} draws; even where all is right."
    return histogram([("items", values)], "rank of the truth, as a share", title, words, _BINS)


def _coverage(found: Calibration) -> Section:
    levels = found.drawn.curve.levels
    chart = line_chart(
        [
            Series("as it should be", levels, levels, dashed=True),
            Series("items of the model", levels, found.drawn.curve.covered),
            Series("true items", found.true.curve.levels, found.true.curve.covered),
        ],
        Axes("level", "share held"),
        "Coverage of central intervals",
        "The share of values that intervals of each level hold, beside the level itself.",
    )
    return Section(
        "How often intervals hold the truth",
        [
            "A point below the diagonal is an interval that promises more than it holds. Where items of the model lie "
            "on the diagonal and true ones do not, it is the model that errs and not the sampler.",
            figure(chart),
        ],
    )


def _residuals(found: Calibration) -> Section:
    if found.drawn.residuals is None or found.true.residuals is None:
        return Section("What residuals tell", ["Residuals are checked where noise is Gaussian."])
    rows = [
        [own.name, number(own.value), number(own.p_value), number(other.value), number(other.p_value)]
        for own, other in zip(found.drawn.residuals.tests, found.true.residuals.tests, strict=True)
    ]
    return Section(
        "What residuals tell, without a truth",
        [
            "What is left of a measurement when a draw is taken from it should be noise: of the size that was stated, "
            "and uncorrelated. This can be asked of measurements whose truth nobody knows.",
            table(["check", "items of the model", "p", "true items", "p"], rows, numeric=(1, 2, 3, 4)),
        ],
    )


def _told(stein: Stein) -> float:
    """The share of items whose draws are told at 5 %."""
    return float((stein.p_value < 0.05).double().mean())


def _stein(found: Calibration) -> list[Section]:
    own, other = found.drawn.stein, found.true.stein
    if own is None or other is None:
        return []
    rows = [
        [who, f"{_told(stein):.0%}", number(stein.combined)]
        for who, stein in (("items of the model", own), ("true items", other))
    ]
    return [
        Section(
            "What the model's scores tell, without a truth",
            [
                "The kernel Stein discrepancy asks whether draws lie where the slope of log p(x | y) says: it is zero "
                "on average for draws of the posterior, whatever y is, and needs no truth and no draws that are known "
                "to be right. The slope is the model's own, at the lowest level of noise into which the measurement's "
                "can be split. It sees draws that are displaced best, their width only with many of them, and hardly "
                "how many lie in which of two modes far apart; ranks see those. Of right draws about 5 % of the items "
                "are told.",
                table(["items", "told at 5 %", "p of all"], rows, numeric=(1, 2)),
            ],
        )
    ]


def _levels(found: Calibration) -> list[Section]:
    if found.levels is None:
        return []
    rows = [[test.name, number(test.value), number(test.p_value)] for test in found.levels.tests]
    return [
        Section(
            "Whether the model is of one mind",
            [
                "The model's own items, drawn from noise down, are draws of the posterior of their measurements if all "
                "its levels of noise tell of one law. Then sweeps of exact noise splitting that begin there change "
                "nothing. A drift, told here in deviations over items, says that the levels disagree: there is no one "
                "posterior, and no method that moves from level to level passes all of the above. Longer training "
                "brings the levels together.",
                table(["number", "drift", "p"], rows, numeric=(1, 2)),
            ],
        )
    ]


def _scale(found: Calibration) -> Section:
    return Section(
        "Intervals that hold on true items",
        [
            f"Intervals of {number(found.scale.scale)} deviations to either side of the mean hold at least 90 % of the "
            f"values of items like the {found.scale.items} it was fitted on, whatever is wrong with the model or the "
            f"method. Fitted on one half of the items they held {found.held:.1%} of the other; 1.645 deviations, what "
            f"a normal law would need, held {found.plain:.1%}.",
        ],
    )
