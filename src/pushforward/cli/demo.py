"""`pushforward demo`: everything once, on real handwritten digits, in a few minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.evaluate import EVALUATION, REPORT, compare, evaluation_lines, page, score
from pushforward.cli.options import Device
from pushforward.cli.output import DEFAULT, Common, quoted
from pushforward.cli.train import run_training

if TYPE_CHECKING:
    from pushforward.api import Run
    from pushforward.config.schema import Config
    from pushforward.data.dataset import Dataset
    from pushforward.report.evaluation import GeneratorEvaluation

MINUTES = 3.5
"""Of training: on two cores the whole demo, installation included, has eight."""
SETTINGS: tuple[str, ...] = (
    "model.network=unet",
    "model.network.width=32",
    "model.network.multipliers=[1, 2]",
    "model.network.blocks=2",
    "training.batch_size=128",
    "training.learning_rate=0.002",
    "training.ema_lengths=[0.05, 0.1]",
    "training.save_seconds=30",
)
"""What the demo trains, over the defaults of the preset edm."""
SAMPLES, STEPS, GUIDANCE = 700, 20, 1.0
"""How it is scored: samples drawn, evaluations of the network for each, weight of guidance."""
COMPARED, BUDGETS = 150, (5, 10, 20)
"""How samplers are compared: samples by each and evaluations, 15 s on one core; `report --samplers` takes more."""


def demo(
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="folder of the run")] = Path("runs/demo"),
    minutes: Annotated[float, Parameter(help="of training")] = MINUTES,
    seed: Annotated[int, Parameter(help="of all randomness")] = 0,
    device: Device = None,
    restart: Annotated[
        bool, Parameter(negative=(), show_default=False, help="begin anew; an earlier demo is moved aside")
    ] = False,
    settings: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative=(), show_default=False, help="any setting, e.g. model.network.width=16"),
    ] = (),
    common: Common = DEFAULT,
) -> None:
    """Train on real handwritten digits, sample them, restore damaged ones, and write a report with pictures.

    What is there already is used: after an interruption the demo continues, and a second demo takes seconds.
    """
    began = time.perf_counter()
    config = demo_config(minutes, seed, device, settings)
    run = run_training(config, out, common, restart=restart)
    scores, report, fresh = _report(run, common)
    values: dict[str, Any] = {"run": out, "report": report, "seconds": round(time.perf_counter() - began, 1)}
    known = "" if fresh else "  (written before; --restart makes everything anew)"
    common.result(
        {**values, "scores": scores.to_dict()},
        *evaluation_lines(scores),
        "",
        f"pictures, scores and restored digits are in the report: {report.resolve()}{known}",
        f"more digits: pushforward sample {quoted(out)} -n 100 --label 7 -o sevens.png",
    )


def demo_config(minutes: float, seed: int, device: str | None, settings: tuple[str, ...]) -> Config:
    """The configuration of the demo."""
    from pushforward import api

    training = {"minutes": minutes, "seed": seed, "device": device}
    return api.configure(*SETTINGS, *settings, entries={"data": {"source": "digits"}, "training": training})


def _report(run: Run, common: Common) -> tuple[GeneratorEvaluation, Path, bool]:
    """Scores and report of a run, and whether they had to be made: those of this very checkpoint are used again."""
    from pushforward.report.evaluation import read_evaluation

    scored, report = run.path / EVALUATION, run.path / REPORT
    trained = (run.checkpoint.path / "manifest.json").stat().st_mtime
    if all(path.exists() and path.stat().st_mtime >= trained for path in (scored, report)):
        return read_evaluation(scored), report, False
    data = run.data()
    common.say("sampling and scoring")
    scores = score(run, data, common, number=SAMPLES, steps=STEPS, seed=run.config.training.seed, guidance=GUIDANCE)
    scores.save(scored)
    _pictures(run, data)
    common.say("comparing samplers")
    compared = compare(run, data, common, number=COMPARED, budgets=BUDGETS, seed=run.config.training.seed)
    return scores, page(run, data, scores, report, common, compared), True


def _pictures(run: Run, data: Dataset) -> None:
    """Ten of each digit, row by row, beside the report."""
    names = data.format.label_names or ()
    labels = [name for name in names for _ in names] or None
    run.generator.sample(len(names) ** 2 or 64, steps=STEPS, label=labels, guidance=GUIDANCE).save(
        run.path / "samples.png"
    )
