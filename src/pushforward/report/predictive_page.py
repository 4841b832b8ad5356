"""The page of a run that predicts: calibration, widths, the rows it is least sure of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.atomic import write_file
from pushforward.data.dataset import Dataset
from pushforward.metrics.certainty import reliability
from pushforward.metrics.coverage import LEVELS, calibration_band, calibration_curve
from pushforward.models.predictor import Classified, Prediction, Predictor
from pushforward.report.page import Page, Section, Verdict, code, facts, figure, table
from pushforward.report.predictive import Measured, PredictiveEvaluation
from pushforward.report.scales import number
from pushforward.report.svg import Axes, Series, histogram, line_chart, scatter_chart
from pushforward.report.training_sections import duration, last, loss_series, versions

_ROWS = 10


def write_predictive_page(
    predictor: Predictor,
    data: Dataset,
    evaluation: PredictiveEvaluation,
    log: Sequence[Mapping[str, Any]],
    out: Path,
    command: str,
) -> Path:
    """Write the page to `out` and return its path; nothing is left half-written."""
    target = ", ".join(predictor.pairing.targets)
    page = Page(
        title=f"{data.name}: predicting {target}",
        subtitle=f"From {len(predictor.pairing.features)} features, learned on {number(len(data.train))} rows, scored "
        f"on {number(evaluation.rows)} held-out rows with {evaluation.samples} draws each.",
        verdict=verdict(evaluation),
        sections=list(_sections(predictor, data, evaluation, log, command)),
        foot=f"Written by pushforward {versions()['pushforward']}. This page needs no network.",
    )
    text = page.render()
    write_file(out, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return out


def verdict(e: PredictiveEvaluation) -> Verdict:
    """Whether what it says of its own certainty can be believed."""
    if isinstance(e.law, Classified):
        error = e["ECE"].value
        said = f"Right in {number(100 * e['accuracy'].value)} % of held-out rows; probabilities are off by "
        said += f"{number(100 * error)} %."
        return Verdict(said, None)
    first = e.measured[2]
    ratio = first.value / (first.against or 1)
    words = "calibrated" if ratio < 1.5 else "not calibrated"
    share = next(m for m in e.measured if m.name.startswith("PICP"))
    return Verdict(
        f"The intervals are {words}: {number(100 * share.value)} % of held-out rows lie in their 95 % interval, and "
        f"the calibration error is {number(ratio, 2)} times that of a perfect model.",
        ratio < 1.5,
    )


def _sections(
    predictor: Predictor,
    data: Dataset,
    e: PredictiveEvaluation,
    log: Sequence[Mapping[str, Any]],
    command: str,
) -> Iterator[Section]:
    yield figures(e.measured)
    if isinstance(e.law, Prediction):
        yield calibration(e, predictor.pairing.targets)
        yield interval_widths(e, predictor.pairing.targets)
    else:
        yield trust(e)
        yield decision_widths(e)
    yield least_sure(predictor, data, e)
    series = loss_series(log)
    if series:
        chart = line_chart(
            series, Axes("step", "loss", log_x=True), "Loss during training", "Training and validation loss."
        )
        yield Section("How training went", [figure(chart, f"{number(last(log, 'step') or 0)} steps.")])
    yield Section("The data", [table(["", ""], [[str(i + 1), m] for i, m in enumerate(data.messages)])])
    yield Section("Do it again", [code(command), facts({"per row": duration(e.seconds), **versions()})])


def figures(measured: Sequence[Measured]) -> Section:
    """The figures with what to hold them against."""
    cells = [
        [m.name, number(m.value, trim=False), "–" if m.against is None else number(m.against, trim=False), m.meaning]
        for m in measured
    ]
    return Section("The figures", [table(["", "on held-out rows", "beside", "what it is"], cells, numeric=(1, 2))])


def calibration(e: PredictiveEvaluation, names: Sequence[str]) -> Section:
    """The share of truths below each predicted quantile, and how far chance carries it from the diagonal."""
    assert isinstance(e.law, Prediction) and e.law.samples is not None
    series = [
        Series(name, LEVELS, calibration_curve(e.spread[:, r], e.law.samples[:, :, r]).tolist(), colour=r)
        for r, name in enumerate(names[:6])
    ]
    band = calibration_band(e.rows, LEVELS)
    series += [
        Series("perfect", [0.0, 1.0], [0.0, 1.0], dashed=True, colour=5),
        *(Series("", LEVELS, (np.asarray(LEVELS) + sign * band).tolist(), faint=True, colour=5) for sign in (-1, 1)),
    ]
    chart = line_chart(
        series,
        Axes("predicted quantile", "share of truths below it"),
        "Calibration",
        "The share of held-out responses below each predicted quantile; on the diagonal where calibrated.",
        (560, 400),
    )
    return Section(
        "Can the quantiles be believed?",
        [
            figure(
                chart,
                "On the diagonal, a quantile of 0.9 is above 90 % of the truths. Flatter than the diagonal: too sure; "
                f"steeper: not sure enough. The faint lines hold 95 % of perfect models on {e.rows} rows.",
            )
        ],
    )


def interval_widths(e: PredictiveEvaluation, names: Sequence[str]) -> Section:
    """How wide the intervals are, and whether wide ones go with large errors."""
    assert isinstance(e.law, Prediction) and e.law.samples is not None
    content: list[str] = []
    for r, name in enumerate(names[:3]):
        low, high = e.law.interval(0.95)[:, :, r].T
        width, error = high - low, np.abs(e.truth[:, r] - e.law.mean[:, r])
        content.append(
            figure(
                histogram(
                    [(name, width.tolist())],
                    f"width of the 95 % interval of {name}",
                    "Widths of intervals",
                    "How many held-out rows have intervals of each width.",
                ),
                f"{name}: from {number(float(width.min()))} to {number(float(width.max()))}.",
            )
        )
        inside = error <= width / 2
        groups = [
            Series(word, width[chosen].tolist(), error[chosen].tolist())
            for word, chosen in (("within half a width", inside), ("outside", ~inside))
            if chosen.any()
        ]
        content.append(
            figure(
                scatter_chart(
                    groups,
                    Axes("width of the 95 % interval", "size of the error"),
                    "Errors by width",
                    "The size of the error against the width of the interval.",
                ),
                "Where the model says that it is less sure, its errors are larger, if widths mean something.",
            )
        )
    return Section("How sure it is", content)


def trust(e: PredictiveEvaluation) -> Section:
    """Confidence beside accuracy."""
    assert isinstance(e.law, Classified)
    bins = reliability(e.law.probabilities, e.truth)
    full = bins[bins[:, 0] > 0]
    chart = line_chart(
        [
            Series("measured", full[:, 1].tolist(), full[:, 2].tolist()),
            Series("perfect", [0.0, 1.0], [0.0, 1.0], dashed=True, colour=5),
        ],
        Axes("confidence", "share that is right"),
        "Reliability",
        "The share of right answers among rows of similar confidence.",
        (560, 400),
    )
    return Section(
        "Can the probabilities be believed?",
        [figure(chart, "On the diagonal, 9 of 10 answers given with 90 % are right.")],
    )


def decision_widths(e: PredictiveEvaluation) -> Section:
    """Widths of intervals of right and wrong answers."""
    assert isinstance(e.law, Classified)
    right = e.law.probabilities.argmax(1) == e.truth
    groups = [(w, e.law.width[c].tolist()) for w, c in (("right", right), ("wrong", ~right)) if c.any()]
    chart = histogram(
        groups,
        "width of the intervals of all coverages together",
        "Widths of right and wrong answers",
        "How many held-out rows have intervals of each width, right and wrong answers apart.",
    )
    sure = e.law.p_values < 0.05
    cells = [
        [word, str(int(c.sum())), number(float(right[c].mean())) if c.any() else "–"]
        for word, c in (("certain (p < 0.05)", sure), ("not certain", ~sure))
    ]
    return Section(
        "How sure it is",
        [
            figure(chart, "Wrong answers should have wider intervals than right ones."),
            table(["paired t-test of the two leading classes", "rows", "share right"], cells, numeric=(1, 2)),
        ],
    )


def least_sure(predictor: Predictor, data: Dataset, e: PredictiveEvaluation) -> Section:
    """The rows with the widest intervals."""
    pairing, raw = predictor.pairing, np.asarray(data.test.values[: e.rows])
    names = [f.name for f in pairing.features][:8]
    if isinstance(e.law, Classified):
        assert pairing.classes is not None
        order, known = np.argsort(-e.law.width)[:_ROWS], pairing.classes.names
        said = [
            [
                known[e.law.probabilities[i].argmax()],
                number(float(e.law.probabilities[i].max())),
                known[int(e.truth[i])],
            ]
            for i in order
        ]
        heads = ["predicted", "probability", "truth"]
    else:
        low, high = e.law.quantiles[:, 0, 0], e.law.quantiles[:, -1, 0]
        order = np.argsort(low - high)[:_ROWS]
        said = [[*(number(float(v)) for v in (e.law.mean[i, 0], low[i], high[i], e.truth[i, 0]))] for i in order]
        heads = ["mean", "2.5 %", "97.5 %", "truth"]
    cells = []
    for i, words in zip(order, said, strict=True):
        features = [
            f.categories[int(raw[i, j])] if f.categories is not None else number(float(raw[i, j]))
            for j, f in enumerate(pairing.features[:8])
        ]
        cells.append([str(int(i)), *words, *features])
    caption = "Held-out rows by the width of their intervals, widest first; row numbers are those of the test split."
    return Section("The rows it is least sure of", [table(["row", *heads, *names], cells, caption)])
