"""The sections of a report on how the model came about: training, data, cost, how to repeat it."""

from __future__ import annotations

import math
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from pushforward.data.format import Kind
from pushforward.models.family import Denoising
from pushforward.report.evaluation import GeneratorEvaluation
from pushforward.report.markup import Html, tag
from pushforward.report.page import Section, code, facts, figure, table
from pushforward.report.scales import number
from pushforward.report.subject import Subject
from pushforward.report.svg import Axes, Series, line_chart, smoothed

Entry = Mapping[str, Any]

_PATHS = {
    "edm": "EDM (Karras et al. 2022): noise of every size is added to the data",
    "ve": "variance exploding (Song et al. 2021)",
    "vp": "variance preserving (Song et al. 2021)",
    "subvp": "sub-VP (Song et al. 2021)",
    "cosine": "variance preserving, cosine schedule (Nichol & Dhariwal 2021)",
    "straight": "straight lines from data to noise: flow matching (Lipman et al. 2023)",
    "ddpm": "a table of levels (Ho et al. 2020)",
}
_PREDICTIONS = {
    "edm": "a mixture of image and noise (EDM preconditioning)",
    "noise": "the noise (ε)",
    "data": "the clean data (x₀)",
    "v": "the velocity (v)",
    "score": "the score",
    "flow": "noise minus data",
}


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 1e-3:
        return f"{number(seconds * 1e6, 2)} µs"
    if seconds < 1:
        return f"{number(seconds * 1e3, 2)} ms"
    if seconds < 90:
        return f"{number(seconds, 2)} s"
    if seconds < 5400:
        return f"{number(seconds / 60, 2)} min"
    return f"{number(seconds / 3600, 2)} h"


def last(log: Sequence[Entry], name: str) -> Any:
    """The last value of an entry of the log; None where there is none."""
    return next((entry[name] for entry in reversed(log) if entry.get(name) is not None), None)


def _best_weights(log: Sequence[Entry]) -> str | None:
    """The weights that validated best at the end."""
    losses = last(log, "validation") or {}
    finite = {name: value for name, value in losses.items() if value is not None and math.isfinite(value)}
    return min(finite, key=finite.__getitem__) if finite else None


def loss_series(log: Sequence[Entry]) -> list[Series]:
    """The curves of a training log: each objective, faint and smoothed, and the validation loss of the best weights."""
    series = []
    names = sorted({name for entry in log for name in entry if name == "loss" or name.startswith("loss/")})
    for i, name in enumerate(names):
        points = [(entry["step"], entry[name]) for entry in log if entry.get(name) is not None]
        label = "training" if name == "loss" else name.partition("/")[2]
        raw = replace(_series(label, points), faint=True, colour=i)
        series += [raw, smoothed(raw, max(0.3, len(points) / 60))]
    best = _best_weights(log)
    for weights, dashed in ((best, False), *([("model", True)] if best != "model" else [])):
        scored = [(entry["step"], (entry.get("validation") or {}).get(weights)) for entry in log]
        points = [(step, value) for step, value in scored if value is not None]
        if points:
            label = "validation, raw" if dashed else "validation"
            series.append(replace(_series(label, points), dashed=dashed, colour=len(names)))
    return series


def _series(name: str, points: Sequence[tuple[float, float]]) -> Series:
    return Series(name, [x for x, _ in points], [y for _, y in points])


def learning(subject: Subject) -> Section:
    """The loss curve, and what was trained."""
    series = loss_series(subject.log)
    content: list[str] = [_what(subject)]
    if series:
        chart = line_chart(
            series,
            Axes("step", "loss", log_x=True, log_y=True),
            "Loss during training",
            "The loss of training and of validation items against the step, on logarithmic axes.",
            size=(760, 340),
        )
        caption = (
            f"{_meaning(subject)}; both axes are logarithmic. Training: "
            "the items it learns from, each value faint and their running mean strong. Validation: items it never "
            f"learns from, measured with the averaged weights ({_best_weights(subject.log) or 'none'}) that were "
            "chosen; dashed, with the weights as they were at that step. A validation curve that turns up while the "
            "training curve goes down means that the model begins to memorise."
        )
        content.append(figure(chart, caption))
    else:
        content.append("There is no training log with this model, so there is no curve of its loss.")
    content.append(_losses(subject))
    return Section("What was trained, and how it went", content)


def _meaning(subject: Subject) -> str:
    if isinstance(subject.generator.model, Denoising):
        return "How badly the network predicts, averaged over all amounts of noise"
    return "What training brings down, in the units of this family's loss"


def _what(subject: Subject) -> Html:
    entry, model = subject.entry, subject.generator.model
    sizes, splits = entry("data", "sizes", default={}), ("train", "validation", "test")
    training = entry("config", "training", default={})
    budget = last(subject.log, "step")
    told = {
        "data": f"{subject.data.name}, items of {'×'.join(map(str, model.shape))}",
        "split": ", ".join(f"{name} {number(sizes[name])}" for name in splits if name in sizes),
        "model": f"{entry('config', 'model', 'family', default='diffusion')}; "
        + (f"conditional on {model.num_classes} labels" if model.num_classes else "without labels"),
        **(_of_denoiser(subject, model) if isinstance(model, Denoising) else _of_others(subject)),
        "parameters": number(sum(p.numel() for p in model.parameters())),
        "training": f"{number(budget) if budget else 'unknown number of'} steps of {training.get('batch_size', '?')} "
        f"items, learning rate {training.get('learning_rate', '?')}, seed {training.get('seed', '?')}",
    }
    return facts({name: value for name, value in told.items() if value})


def _of_denoiser(subject: Subject, model: Denoising) -> dict[str, str]:
    entry = subject.entry
    path, prediction = entry("config", "model", "path", "kind"), entry("config", "model", "prediction")
    return {
        "network": _network(entry("config", "model", "network", default={}), type(model.network).__name__),
        "path of noise": _PATHS.get(str(path), type(model.path).__name__),
        "the network predicts": _PREDICTIONS.get(str(prediction), type(model.prediction).__name__),
    }


def _of_others(subject: Subject) -> dict[str, str]:
    """The settings of the model as they were resolved."""
    section = subject.entry("config", "model", default={})
    return {
        name.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in section.items()
        if name not in ("family", "conditional") and value is not None and not isinstance(value, Mapping)
    }


def _network(section: Mapping[str, Any], name: str) -> str:
    words = [name]
    if "width" in section:
        words.append(f"width {section['width']}")
    if "multipliers" in section:
        words.append(f"{len(section['multipliers'])} resolutions ({', '.join(map(str, section['multipliers']))})")
    if "depth" in section:
        words.append(f"depth {section['depth']}")
    return ", ".join(words)


def _losses(subject: Subject) -> Html:
    losses = subject.evaluation.losses.items()
    cells = [[name, number(x.value), f"± {number(x.error, 2)}", str(x.n)] for name, x in losses]
    return table(
        ["Split", "Loss", "Standard error", "Items"],
        cells,
        "The loss of the finished model with the same times and noises for every split: where the test items stand "
        "clearly above the training items, the model has begun to learn them by heart.",
        numeric=(1, 2, 3),
    )


def data_card(subject: Subject) -> Section:
    """What was found in the data and decided about it."""
    messages = subject.data.messages or subject.entry("data", "messages", default=())
    fingerprint = subject.data.fingerprint
    content: list[str] = ["What was noticed when the data were read, and what was decided about them:"]
    content.append(tag("ul", *(tag("li", message) for message in messages)))
    content.append(facts({"fingerprint": fingerprint}))
    return Section("The data", content)


def cost(subject: Subject) -> Section:
    """Time and memory of training and sampling."""
    e, log = subject.evaluation, subject.log
    seconds, speed, memory = last(log, "seconds"), last(log, "speed"), last(log, "memory")
    device = subject.generator.model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    pace = f", {number(speed)} steps per second at the end" if speed else ""
    told = {
        "training": "" if seconds is None else duration(seconds) + pace,
        "memory in training": "" if memory is None else f"{number(memory / 2**20)} MiB at most",
        "sampling": f"{duration(e.seconds)} per sample{of_evaluations(e)} ({e.n} samples made for this report)",
        "memory in evaluation": "" if e.memory is None else f"{number(e.memory / 2**20)} MiB at most",
        "device": name,
    }
    return Section("Time and memory", [facts({k: v for k, v in told.items() if v})])


def of_evaluations(evaluation: GeneratorEvaluation) -> str:
    """ ", 20 evaluations of the network each", where it is a denoiser's; else nothing."""
    each = evaluation.evaluations
    return "" if each is None else f", {number(each)} evaluations of the network each"


def repeat(subject: Subject, command: str | None) -> Section:
    """The commands that do it again, and the versions they were run with."""
    training = subject.entry("config", "training", default={})
    source = subject.entry("config", "data", "source", default=subject.data.name)
    steps = training.get("steps") or last(subject.log, "step")
    seed = training.get("seed", 0)
    data, run, e = shlex.quote(str(source)), shlex.quote(subject.run), subject.evaluation
    way = f" --steps {e.steps}" if e.steps else ""
    lines = [
        command or f"pushforward train {data} --steps {steps} --seed {seed} --out {run}",
        f"pushforward sample {run} -n 64{way} --seed {e.seed} -o {_samples_of(subject)}",
        f"pushforward evaluate {run}",
        f"pushforward report {run}",
    ]
    python = f"import pushforward as pf\n\nrun = pf.load({subject.run!r})\nrun.generator.sample(64, seed={e.seed})"
    return Section(
        "Do it again",
        [
            "On the command line; the same seed gives the same draws. The whole configuration is stored with the run.",
            code("\n".join(lines)),
            "In Python:",
            code(python),
            facts(versions()),
        ],
    )


def _samples_of(subject: Subject) -> str:
    if subject.data.format.kind is Kind.TEXT:
        return "samples.txt"
    return "samples.png" if subject.is_image else "samples.csv"


def versions() -> dict[str, str]:
    """What this was computed with."""

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed as a package"

    return {
        "pushforward": of("pushforward"),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def training_sections(subject: Subject, command: str | None) -> Iterator[Section | None]:
    """All sections on how the model came about, in their order."""
    yield learning(subject)
    yield data_card(subject)
    yield cost(subject)
    yield repeat(subject, command)
