"""Samplers compared on one model, as a section of a report: a chart, a table, and how to read them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pushforward.report.markup import Html
from pushforward.report.page import Section, figure, table
from pushforward.report.sampler_scores import Comparison, Scored
from pushforward.report.scales import number
from pushforward.report.svg import Axes, Series, line_chart

_EMPHASISED = 6


def ranked(comparison: Comparison) -> list[str]:
    """The names from best to worst: by the geometric mean over the runs of the Fréchet distance over its floor.

    Those with fewer runs than others, which refuse some budgets or keep to none, cannot be compared so and come last.
    """

    def place(name: str) -> tuple[int, float]:
        rows = comparison.of(name)
        return -len(rows), statistics.fmean(math.log(max(comparison.ratio(row), 1e-9)) for row in rows)

    return sorted(comparison.names, key=place)


def sampler_chart(comparison: Comparison, size: tuple[int, int] = (680, 340), most: int = _EMPHASISED) -> Html:
    """Fréchet distance over its floor against evaluations, both logarithmic, a line per sampler.

    Every line has its name where it starts; all but the best `most` are faint.
    """
    order = ranked(comparison)
    series = []
    for place, name in enumerate(order):
        rows = comparison.of(name)
        ratios = [comparison.ratio(row) for row in rows]
        series.append(Series(name, [row.evaluations for row in rows], ratios, faint=place >= most, colour=place % 6))
    spent = [row.evaluations for row in comparison.rows]
    series.append(Series("real data", [min(spent), max(spent)], [1.0, 1.0], faint=True, dashed=True, colour=0))
    axes = Axes("evaluations of the network per sample", "Fréchet distance / floor", log_x=True, log_y=True)
    best = ", ".join(order[:most])
    words = f"Lower is better, 1 is real data. Best over all budgets: {best}."
    return line_chart(series, axes, "Quality against evaluations", words, size, at_start=True)


def samplers_compared(comparison: Comparison) -> Section:
    """The section: how to read it in one sentence, the chart, and the numbers."""
    reading = (
        "Every line is one way of sampling this same model from the same noise: the further left it comes down to the "
        "dashed line, where samples cannot be told from real data, the fewer calls of the network a sample costs."
    )
    caption = (
        f"{comparison.n} samples against {comparison.n_test} test items, compared as {comparison.features}; both axes "
        "are logarithmic. Differences of a tenth are within chance."
    )
    return Section("Samplers compared", [reading, figure(sampler_chart(comparison), caption), _table(comparison)])


def _table(comparison: Comparison) -> Html:
    budgets = sorted({row.asked for row in comparison.rows})
    headers = ["Sampler", *(f"{budget} evaluations" for budget in budgets), "per sample"]
    cells = [_cells(comparison, name, budgets) for name in ranked(comparison)]
    caption = (
        f"Fréchet distance in units of its floor of {number(comparison.floor.frechet)}, what {comparison.n} real "
        "items score: 1 is real data. Last, the time of a sample with the most evaluations."
    )
    return table(headers, cells, caption, numeric=range(1, len(headers)))


def _cells(comparison: Comparison, name: str, budgets: Sequence[int]) -> list[str]:
    rows = {row.asked: row for row in comparison.of(name)}
    last = rows[max(rows)]
    return [name, *(_ratio(comparison, rows.get(budget)) for budget in budgets), f"{number(1e3 * last.seconds, 2)} ms"]


def _ratio(comparison: Comparison, row: Scored | None) -> str:
    return "–" if row is None else number(comparison.ratio(row), trim=False)
