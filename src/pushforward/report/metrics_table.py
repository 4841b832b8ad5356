"""The evaluation as a table: each value beside its floor and its control, with a small picture of the three."""

from __future__ import annotations

from collections.abc import Iterable

from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.report.markup import Html, render, tag
from pushforward.report.page import Verdict, table
from pushforward.report.scales import Scale, number
from pushforward.report.svg import colour


def gauge(row: Row, width: int = 150) -> Html:
    """A line with the floor as a bar, the control as a ring and the samples as a dot with ± 1 standard deviation."""
    sd = row.sd or 0.0
    marks = [row.floor, row.value - sd, row.value + sd, *([] if row.control is None else [row.control])]
    x, y = Scale.around(marks, 8, width - 8), 11
    at = x(row.value)
    left, right = x(row.value - sd), x(row.value + sd)
    parts = [
        f'<path d="M4 {y}H{width - 4}" stroke="currentColor" stroke-opacity=".25"/>',
        f'<path d="M{x(row.floor):.1f} 3v16" stroke="currentColor" stroke-width="3" stroke-opacity=".7"/>',
        f'<path d="M{left:.1f} {y}H{right:.1f}" stroke="{colour(0)}" stroke-width="2"/>',
        f'<circle cx="{at:.1f}" cy="{y}" r="5" fill="{colour(0)}"/>',
    ]
    if row.control is not None:
        ring = f'<circle cx="{x(row.control):.1f}" cy="{y}" r="4.5" fill="none" stroke="{colour(1)}" stroke-width="2"/>'
        parts.insert(1, ring)
    return Html(f'<svg viewBox="0 0 {width} 22" width="{width}" height="22" aria-hidden="true">{"".join(parts)}</svg>')


def _plus_minus(value: float, sd: float | None) -> Html:
    spread = [] if sd is None else [tag("small", f"± {number(sd, 2, trim=False)}")]
    return render(number(value, trim=False), *spread)


def _bound(row: Row) -> str:
    return "none" if row.target is None else f"{'≤' if row.good == 'low' else '≥'} {number(row.target)}"


def _reached(row: Row) -> Html:
    if row.target is None:
        return tag("small", f"{'lower' if row.good == 'low' else 'higher'} is better")
    sign, tone, word = ("✓", "pf-good", "reached") if row.reached else ("✗", "pf-bad", "not reached")
    return render(tag("span", f"{sign} {word}", class_=tone), tag("small", _bound(row)))


def metrics_table(rows: Iterable[Row], caption: str = "") -> Html:
    """Metric, samples ± sd, real data (the floor), Gaussian control, a gauge, and whether the target is reached."""
    cells = [
        [
            render(row.name, tag("small", row.meaning)),
            _plus_minus(row.value, row.sd),
            _plus_minus(row.floor, row.floor_sd),
            "–" if row.control is None else number(row.control, trim=False),
            gauge(row),
            _reached(row),
        ]
        for row in rows
    ]
    explained = (
        "In the pictures the dot is the samples (± one standard deviation), the bar real data at the same sizes, "
        "and the ring a Gaussian fit (for labels: chance)."
    )
    headers = ["Metric", "Samples", "Real data", "Control", "", "Target"]
    return table(headers, cells, f"{caption} {explained}".strip(), numeric=(1, 2, 3))


def verdict_of(evaluation: Evaluation) -> Verdict:
    """One sentence on the targets of an evaluation: how many are reached, and which are not, with their numbers."""
    aimed = [row for row in evaluation if row.target is not None]
    missed = [row for row in aimed if not row.reached]
    size = f"on {number(evaluation.n)} samples against {number(evaluation.n_test)} test items"
    if not missed:
        found = ", ".join(f"{row.name} {number(row.value)} (real data {number(row.floor)})" for row in aimed)
        return Verdict(f"All {len(aimed)} targets are reached {size}: {found}.", True)
    found = ", ".join(f"{row.name} is {number(row.value)}, target {_bound(row)}" for row in missed)
    return Verdict(f"{len(aimed) - len(missed)} of {len(aimed)} targets are reached {size}; {found}.", False)
