"""Error against evaluations of all samplers, as one page."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.report.markup import Html
from pushforward.report.page import Page, Section, Verdict, figure, table
from pushforward.report.svg import Axes, Series, line_chart
from pushforward.verification.check import Row
from pushforward.verification.solvers import Curve

_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Multistep solvers",
        ("default sampler", "DDIM", "DPM-Solver++ 2M", "DPM-Solver++ 3M", "UniPC-3", "Adams–Bashforth 4 on F"),
    ),
    (
        "Single-step solvers",
        (
            "default sampler",
            "DPM-Solver 2S",
            "DPM-Solver 3S",
            "DPM-Solver++ 2S",
            "DPM-Solver++ 3S",
            "Heun in σ/α (EDM)",
        ),
    ),
    ("Further solvers", ("DPM-Solver 2M", "DPM-Solver 3M", "UniPC-2", "Euler in t", "midpoint in t", "Heun in t")),
)


def chart(curves: Sequence[Curve], title: str, error: str) -> Html:
    """One line per sampler, both axes logarithmic."""
    lines = [Series(curve.name, [float(n) for n in curve.evaluations], curve.errors) for curve in curves]
    axes = Axes("evaluations", error, log_x=True, log_y=True)
    worst = ", ".join(f"{curve.name} {curve.errors[-1]:.1e}" for curve in curves)
    description = f"Error at {curves[0].evaluations[-1]} evaluations: {worst}."
    return line_chart(lines, axes, title, description, (760, 380))


def page(rows: Sequence[Row], flows: Sequence[Curve], stochastic: Sequence[Curve]) -> str:
    """The rows that were run and the charts, as HTML."""
    failed = [row.name for row in rows if not row.passed]
    by_name = {curve.name: curve for curve in flows}
    verdict = (
        f"{len(failed)} of {len(rows)} identities fail: {', '.join(failed)}"
        if failed
        else f"{len(rows)} identities hold"
    )
    error = "largest distance to the endpoint"
    charts = [figure(chart([by_name[n] for n in names], title, error), title) for title, names in _GROUPS]
    charts.append(figure(chart(stochastic, "Reverse SDE", "relative error of the variance"), "Reverse SDE"))
    orders = [
        [c.name, str(c.order), f"{c.measured:.2f}", f"{c.errors[-1]:.1e}", str(c.evaluations[-1])]
        for c in (*flows, *stochastic)
    ]
    cells = [
        [
            row.name,
            row.tutorial,
            row.compared,
            f"{row.measured:.2g}",
            f"{row.tolerance:.2g}",
            "yes" if row.passed else "NO",
        ]
        for row in rows
    ]
    sections = [
        Section(
            "Error against evaluations",
            [
                "On the probability flow of a mixture of two Gaussians (VP), whose exact endpoints are quantiles; the "
                "default sampler goes on to clean data. Reverse SDE: the final variance of Gaussian data.",
                *charts,
                table(["sampler", "order", "measured", "error", "evaluations"], orders, numeric=(1, 2, 3, 4)),
            ],
        ),
        Section(
            "Identities",
            [table(["identity", "tutorial", "compared", "largest error", "tolerance", "holds"], cells, numeric=(3, 4))],
        ),
    ]
    return Page("Verification", "What the tutorial says, measured", Verdict(verdict, not failed), sections).render()
