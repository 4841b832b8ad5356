"""The page that sets families of models side by side: what each is, what it reached, what it cost, how it looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pushforward.data.atomic import write_file
from pushforward.data.format import Format
from pushforward.report.column_sections import names_of
from pushforward.report.contenders import (
    BITS,
    COSTS,
    COVERAGE,
    FRECHET,
    MEASURES,
    NATS,
    SAMPLE_TIME,
    FamilyComparison,
    Measure,
    Spread,
)
from pushforward.report.markup import Html, render, tag
from pushforward.report.page import Page, Section, Verdict, code, facts, figure, picture, table
from pushforward.report.pictures import filmstrip, pair_plots
from pushforward.report.scales import number
from pushforward.report.svg import Axes, Series, line_chart
from pushforward.report.tiles import Tiler
from pushforward.report.training_sections import versions

_BLACK_TO_WHITE = (0.0, 255.0)

ABOUT: dict[str, tuple[str, str]] = {
    "diffusion": (
        "learns to remove noise of every size from data; samples are made from noise in steps",
        "exact likelihood, restoration of measurements without retraining, guidance; many network calls per sample",
    ),
    "flow": (
        "an invertible network that carries data to a simple density and back",
        "exact likelihood in one pass, exact latents; invertibility limits the networks that can be used",
    ),
    "vae": (
        "an encoder to a few latent numbers and a decoder back, trained together",
        "a compact description of each item, samples in one pass, a lower bound of the likelihood; blurs or adds grain",
    ),
    "gan": (
        "a generator that learns to deceive a discriminator, which learns not to be deceived",
        "crisp samples in one pass; no likelihood, may leave out part of the data",
    ),
    "energy": (
        "a number for every point, low where data are; its slope points towards data",
        "any network serves, densities can be added and constrained; samples by chains, likelihood with error bars",
    ),
    "discrete": (
        "learns to restore symbols that were hidden or changed; samples are made in steps or symbol by symbol",
        "categories, texts and whole numbers as they are, a bound of their probability; nothing between two values",
    ),
    "latent": (
        "an autoencoder to a smaller map of numbers, and a diffusion model of such maps",
        "large images for the price of small ones; what the autoencoder loses no sample has",
    ),
    "mixed": (
        "diffusion of numbers and of categories together",
        "tables with columns of both kinds; no likelihood",
    ),
}
"""What a family is, and what it offers and lacks."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is looked at: items that are real and held out, and samples of each family's first seed, in the user's own
    form."""

    form: Format
    real: np.ndarray
    samples: Mapping[str, np.ndarray]


def write_family_page(comparison: FamilyComparison, shown: Shown, command: str, out: Path) -> Path:
    """Write the page to `out` and return its path; nothing is left half-written."""
    seeds = len(comparison.seeds)
    page = Page(
        title=f"{comparison.data}: families of models side by side",
        subtitle=f"{_names(comparison.families)}, {comparison.budget}, {seeds} seed{'s' if seeds > 1 else ''} each.",
        verdict=verdict(comparison),
        sections=list(_sections(comparison, shown, command)),
        foot=f"Written by pushforward {versions()['pushforward']}. This page needs no network.",
    )
    text = page.render()
    write_file(out, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return out


def verdict(comparison: FamilyComparison) -> Verdict:
    """Who leads in what, in one sentence."""
    said = []
    for measure, words in _LEADS:
        leaders = comparison.best(measure)
        spread = comparison.spread(leaders[0], measure) if leaders else None
        if spread is not None:
            verb = "have" if len(leaders) > 1 else "has"
            said.append(f"{_names(leaders)} {verb} {words} ({number(spread.mean)})")
    quickest = comparison.best(SAMPLE_TIME)
    if quickest:
        said.append(f"{_names(quickest)} {'draw' if len(quickest) > 1 else 'draws'} fastest")
    text = "; ".join(said) or "There was too little to compare"
    return Verdict(f"{text[0].upper()}{text[1:]}.", None)


_LEADS = (
    (BITS, "the highest likelihood, in the fewest bits per dimension"),
    (NATS, "the highest likelihood"),
    (FRECHET, "the samples nearest to real data by Fréchet distance over its floor"),
    (COVERAGE, "the best coverage of the data"),
)
"""What the verdict tells of, and in which words."""


def _sections(comparison: FamilyComparison, shown: Shown, command: str) -> Iterator[Section]:
    yield looks(shown)
    yield reached(comparison)
    yield costs(comparison)
    yield why(comparison)
    yield about(comparison)
    yield repeat(comparison, command)


def looks(shown: Shown) -> Section:
    """Samples of every family beside real data."""
    explained = (
        "Real items were held back from training. The samples are the first of the first seed, none left out: look for "
        "quality, and for variety."
    )
    if len(shown.form.shape) == 3:
        tiler = Tiler(shown.form)
        rows = {"real": shown.real, **shown.samples}
        count = min(8 if tiler.few else 12, *(len(values) for values in rows.values()))
        strips = [tiler.of_values(values[:count]) for values in rows.values()]
        image = filmstrip(strips, None, [named(row) for row in rows], _BLACK_TO_WHITE, tiler.size)
        return Section("Samples side by side", [picture(image, "Real images and samples of each family", explained)])
    names = names_of(shown.form)
    real = np.asarray(shown.real, dtype=np.float64)
    varied = np.flatnonzero(np.ptp(real, axis=0) > 0)[:3]
    content: list[str] = []
    for family, values in shown.samples.items():
        plots = pair_plots(np.asarray(values, dtype=np.float64)[:, varied], real[:, varied], [names[i] for i in varied])
        content.append(
            figure(plots, f"{named(family)}: histograms and pairs of columns, real rows and generated ones.")
        )
    return Section("Samples side by side", [explained, *content])


def reached(comparison: FamilyComparison) -> Section:
    """Quality and likelihood, a row per family, beside what real data score."""
    measures = comparison.measured(MEASURES)
    caption = (
        f"Mean ± standard deviation over {len(comparison.seeds)} seeds. ★ marks the best family and those that it does "
        "not beat by more than the spread of their seeds. Real data: other training items in the same measurement, "
        "which is what perfection scores."
    )
    references = {"real data": comparison.real}
    if comparison.gaussian is not None:
        references["a Gaussian fit"] = lambda measure: comparison.gaussian if measure.name in _LIKELIHOODS else None
    return Section(
        "What each reached",
        [
            "No single number says how good a generative model is. Likelihood says how probable real unseen data are "
            "under the model, distances how far samples are from real data, precision whether samples look real, "
            "recall and coverage whether all kinds of data are there, near copies whether training items are repeated.",
            _table(comparison, measures, caption, references),
            *_notes(comparison),
        ],
    )


def _notes(comparison: FamilyComparison) -> list[str]:
    """How each likelihood was found, and why there is none where there is none."""
    said = {}
    for family in comparison.families:
        one = comparison.of(family)[0]
        if one.likelihood is None:
            said[named(family)] = f"no likelihood: {one.missing}"
        else:
            said[named(family)] = one.likelihood.method
    return [render(tag("h3", "How the likelihoods were found"), facts(said))]


def _table(
    comparison: FamilyComparison,
    measures: Sequence[Measure],
    caption: str,
    references: Mapping[str, Callable[[Measure], float | None]] | None = None,
) -> Html:
    """A row per measure, a column per family, and further columns to hold them against."""
    references, rows = references or {}, []
    for measure in measures:
        cells: list[str] = [_headed(measure)]
        for family in comparison.families:
            spread = comparison.spread(family, measure)
            star = " ★" if family in comparison.best(measure) else ""
            cells.append("–" if spread is None else _written(spread, star))
        found = [read(measure) for read in references.values()]
        cells += ["–" if value is None else number(value, trim=False) for value in found]
        rows.append(cells)
    headers = ["", *map(named, comparison.families), *references]
    return table(headers, rows, caption, numeric=range(1, len(headers)))


def _written(spread: Spread, star: str) -> Html:
    error = [] if math.isnan(spread.sd) else [tag("small", f"± {number(spread.sd, 2, trim=False)}")]
    return render(f"{number(spread.mean, trim=False)}{star}", *error)


_LIKELIHOODS = (BITS.name, NATS.name)


def _headed(measure: Measure) -> str:
    arrow = {"low": " ↓", "high": " ↑", None: ""}[measure.better]
    return f"{measure.name}{arrow}"


def costs(comparison: FamilyComparison) -> Section:
    """Sizes and times."""
    caption = "Times are of this machine; the memory is the most that training and scoring held. ↓ lower is better."
    return Section("What each cost", [_table(comparison, comparison.measured(COSTS), caption)])


def why(comparison: FamilyComparison) -> Section:
    """Quality against the time of a sample: what the choice of a family trades."""
    quality, time = FRECHET, SAMPLE_TIME
    series = []
    for i, family in enumerate(comparison.families):
        points = [(time.read(one), quality.read(one)) for one in comparison.of(family)]
        known = [(x, y) for x, y in points if x is not None and y is not None]
        if known:
            series.append(Series(named(family), [x for x, _ in known], [y for _, y in known], colour=i % 6))
    words = (
        "Diffusion models are popular because their training is a plain regression that does not diverge, their "
        "samples cover the data, and one model gives likelihoods and restores measurements; what they pay is time per "
        "sample. Whether that holds for these data and this budget is measured here: down is nearer to real data, left "
        "is faster."
    )
    if not series:
        return Section("Why diffusion models?", [words, "There was too little to compare for a chart."])
    spent = [x for s in series for x in s.x]
    series.append(Series("real data", [min(spent), max(spent)], [1.0, 1.0], faint=True, dashed=True, colour=0))
    chart = line_chart(
        series,
        Axes("milliseconds per sample", "Fréchet distance / floor", log_x=True, log_y=True),
        "Quality against time per sample",
        "Each family's distance to real data against the time of a sample; lower and further left is better.",
        (680, 320),
    )
    return Section("Why diffusion models?", [words, figure(chart, "A line joins the seeds of one family.")])


def about(comparison: FamilyComparison) -> Section:
    """What the families are, for who meets them first."""
    rows = [[named(family), *ABOUT.get(family, ("", ""))] for family in comparison.families]
    return Section("What they are", [table(["", "How it works", "What it offers, and what it lacks"], rows)])


def repeat(comparison: FamilyComparison, command: str) -> Section:
    """How to do it again, and where the runs are."""
    runs = {f"{named(one.family)}, seed {one.seed}": one.run for one in comparison.contenders}
    return Section(
        "Do it again",
        [
            "Each run is an ordinary one: `sample`, `likelihood` and `report` work on it.",
            code(command),
            facts(runs),
            facts(versions()),
        ],
    )


def named(family: str) -> str:
    """The family as it is written in a sentence."""
    return {"vae": "VAE", "gan": "GAN", "energy": "energy model"}.get(family, family)


def _names(families: Sequence[str]) -> str:
    names = [named(family) for family in families]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
