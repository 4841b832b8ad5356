"""`pushforward evaluate` and `pushforward report`: numbers with floors, and the page that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import Device, Folder
from pushforward.cli.output import DEFAULT, Common, quoted
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.api import Run
    from pushforward.data.dataset import Dataset
    from pushforward.report.evaluation import GeneratorEvaluation
    from pushforward.report.predictive import PredictiveEvaluation
    from pushforward.report.sampler_scores import Comparison

EVALUATION, REPORT = "evaluation.json", "report.html"
COMPARED = ("default", "dpm++2m", "heun", "ddim", "ddpm", "analytic-ddpm")
"""The samplers that a report compares: one of each kind."""
COMPARISON = 300, (5, 10, 20, 50)
"""On request: samples by each sampler, and evaluations."""

Number = Annotated[
    int | None, Parameter(name=("-n", "--number"), help="samples to draw [half of the training split, at most 1000]")
]
Steps = Annotated[int | None, Parameter(help="evaluations of a denoiser's network per sample [20]")]
Seed = Annotated[int, Parameter(help="of the samples")]
Guidance = Annotated[float, Parameter(help="weight towards the label; 1 is none")]


def evaluate(
    run: Folder,
    /,
    *,
    number: Number = None,
    steps: Steps = None,
    seed: Seed = 0,
    guidance: Guidance = 1.0,
    out: Annotated[
        Path | None, Parameter(name=("--out", "-o"), help="where the numbers are written [evaluation.json in the run]")
    ] = None,
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Score samples of a run against its test split, each number beside what real data score."""
    from pushforward import api

    found = common.opened(api.load(run, device=device))
    if predicts(found):
        scored = score_predictions(
            found, found.data(), common, samples=number, steps=steps, seed=seed, guidance=guidance
        )
        where = scored.save(out or found.home / EVALUATION)
        common.result({**scored.to_dict(), "out": where}, *prediction_lines(scored), f"written to {where}")
        return
    data = found.data()
    common.say(*(line for line in data.messages if line not in found.about_data.messages))
    scores = score(found, data, common, number=number, steps=steps, seed=seed, guidance=guidance)
    path = scores.save(out or found.home / EVALUATION)
    common.result({**scores.to_dict(), "out": path}, *evaluation_lines(scores), f"written to {path}")


def score(
    run: Run, data: Dataset, common: Common, *, number: int | None, steps: int | None, seed: int, guidance: float
) -> GeneratorEvaluation:
    """Sample and score, with a bar. Raises UserError for a number below 1."""
    from pushforward.report.evaluation import evaluate_generator

    if number is not None and number < 1:
        raise UserError(f"the number of samples must be at least 1; got {number}")

    with Bar(common, "sampling", number) as bar:
        return evaluate_generator(
            run.generator, data, n=number, steps=steps, seed=seed, guidance=guidance, progress=bar
        )


def evaluation_lines(scores: GeneratorEvaluation) -> Iterator[str]:
    """A table for a terminal."""
    yield f"{'':<28}{'samples':>12}{'floor':>12}{'target':>12}"
    for row in scores:
        target = "" if row.target is None else f"{row.target:.4g}"
        mark = {True: "  reached", False: "  not reached", None: ""}[row.reached]
        yield f"{row.name:<28}{row.value:>12.4g}{row.floor:>12.4g}{target:>12}{mark}"
    for name, loss in scores.losses.items():
        yield f"{f'loss, {name}':<28}{loss.value:>12.4g}  ± {loss.error:.2g}"
    for missing in scores.missing:
        yield f"{missing.name}: not measured, {missing.reason}"
    each = "" if scores.evaluations is None else f" of {scores.evaluations:g} evaluations each"
    yield f"{scores.n} samples{each}, {scores.seconds:.3g} s per sample"
    yield "floor: what real data score in the same measurement"


def report(
    run: Folder,
    /,
    *,
    number: Number = None,
    steps: Steps = None,
    seed: Seed = 0,
    guidance: Guidance = 1.0,
    samplers: Annotated[
        bool, Parameter(negative=(), show_default=False, help="compare samplers too: 500 evaluations for each of 300")
    ] = False,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="the page [report.html in the run]")] = None,
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Write one HTML page about a run: samples, scores with floors, curves, restoration, costs; it opens offline."""
    from pushforward import api

    found = common.opened(api.load(run, device=device))
    data = found.data()
    common.say(*(line for line in data.messages if line not in found.about_data.messages))
    if predicts(found):
        if samplers:
            found.denoising("a comparison of samplers")
        scored = score_predictions(found, data, common, samples=number, steps=steps, seed=seed, guidance=guidance)
        scored.save(found.home / EVALUATION)
        where = prediction_page(found, data, scored, out or found.home / REPORT, common)
        common.result({"out": where, "scores": scored.to_dict()}, f"the report is {where.resolve()}")
        return
    scores = score(found, data, common, number=number, steps=steps, seed=seed, guidance=guidance)
    scores.save(found.home / EVALUATION)
    most, budgets = COMPARISON
    compared = compare(found, data, common, number=most, budgets=budgets, seed=seed) if samplers else None
    path = page(found, data, scores, out or found.home / REPORT, common, compared)
    common.result({"out": path, "scores": scores.to_dict()}, f"the report is {path.resolve()}")


def compare(run: Run, data: Dataset, common: Common, *, number: int, budgets: tuple[int, ...], seed: int) -> Comparison:
    """Sample by `COMPARED` with every budget and score, with a bar."""
    from pushforward.config.samplers import choices
    from pushforward.report.sampler_scores import compare_samplers

    run = run.with_variance()
    moved = run.sampled("a comparison of samplers")
    asked = choices(COMPARED, moved.model, moved.variance)
    with Bar(common, "comparing samplers", len(COMPARED) * len(budgets)) as bar:
        return compare_samplers(run.generator, data, asked, budgets, n=number, seed=seed, tell=bar)


def page(
    run: Run,
    data: Dataset,
    scores: GeneratorEvaluation,
    out: Path,
    common: Common,
    compared: Comparison | None = None,
) -> Path:
    """Write the report of a run."""
    from pushforward.report.run_report import write_report
    from pushforward.training.observers import read_log

    common.say("writing the report")
    described = {**run.checkpoint.config, "state": run.checkpoint.state}
    log = read_log(run.home / "metrics.jsonl")
    where, command = str(run.path), again(run)
    return write_report(run.generator, data, described, log, scores, out, run=where, command=command, compared=compared)


def predicts(run: Run) -> bool:
    """Whether it predicts the response of rows, and makes none."""
    from pushforward.models.predictor import Predictor

    return isinstance(run.generator, Predictor)


def score_predictions(
    run: Run, data: Dataset, common: Common, *, samples: int | None, steps: int | None, seed: int, guidance: float
) -> PredictiveEvaluation:
    """Predict the test rows and score that, with a bar; `samples` of each row."""
    from pushforward.config.predicting import predictor_of
    from pushforward.report.predictive import SAMPLES, evaluate_predictor

    if guidance != 1.0:
        raise UserError("guidance is towards a label, and this run predicts a response: leave it out")
    with Bar(common, "predicting") as bar:
        return evaluate_predictor(
            predictor_of(run),
            data.test,
            samples=SAMPLES if samples is None else samples,
            seed=seed,
            evaluations=20 if steps is None else steps,
            progress=bar,
        )


def prediction_lines(scored: PredictiveEvaluation) -> Iterator[str]:
    """A table for a terminal."""
    yield f"{'':<28}{'held-out rows':>16}{'beside':>12}"
    for m in scored.measured:
        against = "" if m.against is None else f"{m.against:.4g}"
        yield f"{m.name:<28}{m.value:>16.4g}{against:>12}  {m.meaning}"
    yield f"{scored.rows} rows, {scored.samples} draws each, {scored.seconds:.3g} s per row"


def prediction_page(run: Run, data: Dataset, scored: PredictiveEvaluation, out: Path, common: Common) -> Path:
    """Write the report of a run that predicts."""
    from pushforward.config.predicting import predictor_of
    from pushforward.report.predictive_page import write_predictive_page
    from pushforward.training.observers import read_log

    common.say("writing the report")
    log = read_log(run.home / "metrics.jsonl")
    return write_predictive_page(predictor_of(run), data, scored, log, out, again(run))


def again(run: Run) -> str:
    """The commands that make the same run elsewhere."""
    return f"pushforward info {quoted(run.path)} --toml > again.toml\npushforward train again.toml --out again"
