"""The report of a run: one HTML page that stands alone and opens offline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pushforward.data.atomic import write_file
from pushforward.data.dataset import Dataset
from pushforward.data.format import Kind
from pushforward.models.generator import Generator
from pushforward.report.adversarial_sections import adversarial_sections
from pushforward.report.column_sections import column_sections
from pushforward.report.evaluation import GeneratorEvaluation
from pushforward.report.image_sections import image_sections
from pushforward.report.markup import Html
from pushforward.report.metrics_table import metrics_table, verdict_of
from pushforward.report.page import Figure, Page, Section, Verdict, cards, table
from pushforward.report.sampler_scores import Comparison
from pushforward.report.sampler_sections import samplers_compared
from pushforward.report.scales import number
from pushforward.report.subject import Subject
from pushforward.report.text_sections import text_sections
from pushforward.report.training_sections import duration, last, of_evaluations, training_sections, versions


def write_report(
    generator: Generator,
    data: Dataset,
    description: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    evaluation: GeneratorEvaluation,
    out: Path | str,
    *,
    run: str = "RUN",
    command: str | None = None,
    compared: Comparison | None = None,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Write the report of a trained generator to `out` and return its path.

    Args:
        data: what the model was trained on.
        description: what is stored with the checkpoint (configuration and data).
        log: the entries of the training log, possibly none.
        evaluation: of this generator on these data; its seed, steps and guidance make the samples that are shown.
        run, command: how the run and the training are called in the commands that repeat them.
        compared: samplers against one another on this model, for a section of its own.
        tell: called with the title of each section when it is done.

    Raises:
        PushforwardError: the page could not be written; nothing is left half-written.
    """
    subject = Subject(generator, data, description, log, evaluation, run)
    sections = []
    for section in _sections(subject, command, compared):
        if section is not None:
            sections.append(section)
            if tell:
                tell(section.title)
    page = Page(
        title=f"{data.name}: what the model has learned",
        subtitle=_subtitle(subject),
        verdict=_verdict(evaluation),
        sections=sections,
        lead=[cards(*_figures(subject))],
        foot=f"Written by pushforward {versions()['pushforward']}. This page needs no network.",
    )
    text = page.render()
    write_file(Path(out), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Path(out)


def _sections(subject: Subject, command: str | None, compared: Comparison | None) -> Iterator[Section | None]:
    looked: Iterator[Section | None]
    if subject.data.format.kind is Kind.TEXT:
        looked = text_sections(subject)
    else:
        looked = image_sections(subject) if subject.is_image else column_sections(subject)
    asked = [] if compared is None else [samplers_compared(compared)]
    game = adversarial_sections(subject)
    return chain(looked, [scores(subject)], asked, game, training_sections(subject, command))


def _subtitle(subject: Subject) -> str:
    family = subject.entry("config", "model", "family", default="diffusion")
    steps = last(subject.log, "step")
    kind = {Kind.IMAGE: "images", Kind.TEXT: "pieces of text"}.get(subject.data.format.kind, "rows")
    trained = f"trained for {number(steps)} steps " if steps else "trained "
    return f"A {family} model {trained}on {number(len(subject.data.train))} {kind}."


def _verdict(evaluation: GeneratorEvaluation) -> Verdict:
    if evaluation.scores is None:
        reasons = "; ".join(f"{m.name}: {m.reason}" for m in evaluation.missing)
        return Verdict(f"The samples could not be scored, so look at them yourself ({reasons}).", None)
    return verdict_of(evaluation.scores)


def _figures(subject: Subject) -> Iterator[Figure]:
    """The few numbers that are read first."""
    e = subject.evaluation
    rows = {} if e.scores is None else {row.name.partition("[")[0]: row for row in e.scores}
    if "label accuracy" in rows:
        row = rows["label accuracy"]
        yield Figure(_percent(row.value), "recognised as what was asked for", f"real test items {_percent(row.floor)}")
    if "FD" in rows and rows["FD"].floor > 0:
        row = rows["FD"]
        yield Figure(f"{number(row.value / row.floor, 2)}×", "Fréchet distance over its floor", "1 is real data")
    if "near copies" in rows:
        row = rows["near copies"]
        yield Figure(_percent(row.value), "near copies of training items", f"unseen real items {_percent(row.floor)}")
    yield Figure(duration(e.seconds), "per sample", of_evaluations(e).lstrip(", "))
    seconds, steps = last(subject.log, "seconds"), last(subject.log, "step")
    if seconds is not None:
        yield Figure(duration(seconds), "of training", f"{number(steps)} steps")


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"


def scores(subject: Subject) -> Section:
    """The table of figures, and what could not be measured."""
    e, content = subject.evaluation, []
    if e.scores is not None:
        content.append(
            "Numbers say what the eye cannot: whether the variety is right, and whether samples are copies. Each "
            "stands beside its floor, what real unseen data score in the very same measurement, and beside what a "
            "Gaussian fit scores; a good model is near the floor and far from the Gaussian."
        )
        way = f"{e.steps} steps, " if e.steps else ""
        caption = (
            f"{e.n} samples ({way}seed {e.seed}) against {e.scores.n_test} test items. In brackets: the "
            "space in which items are compared."
        )
        content.append(metrics_table(e.scores, caption))
    if e.missing:
        content.append(_missing(e))
    return Section("The figures", content)


def _missing(evaluation: GeneratorEvaluation) -> Html:
    cells = [[m.name, m.reason] for m in evaluation.missing]
    return table(["Not measured", "Reason"], cells)
