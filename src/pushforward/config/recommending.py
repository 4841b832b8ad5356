"""The method to restore with, measured once for a run, an operator and a noise, and remembered beside the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pushforward.config.calibrating import TRUTHS, measured_in_units
from pushforward.config.methods import USUAL_METHOD
from pushforward.config.operator_schema import MeasurementConfig
from pushforward.config.run import Run, weights_hash
from pushforward.data.atomic import write_file
from pushforward.errors import UserError
from pushforward.models.generator import Label
from pushforward.numerics.random import Draws
from pushforward.posterior import Question, recommend

FILE = "recommended.json"
_ITEMS, _SAMPLES, _MOST = 24, 19, 1000
"""Simulated items and draws of each, and the most evaluations that are tried: a few minutes for a small network."""


@dataclass(frozen=True)
class Advice:
    """A name of `METHODS` and its evaluations (None: the usual ones); whether its uncertainty may be trusted, and why.

    `tried` has a line for each method that was tried.
    """

    name: str
    evaluations: int | None
    calibrated: bool
    reason: str
    tried: tuple[str, ...]


def recommended(
    run: Run,
    config: MeasurementConfig,
    folder: Path,
    *,
    label: Label = None,
    guidance: float = 1.0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Advice:
    """What was measured for these weights, this operator and this noise, from the run's file or measured now."""
    key = _key(run, config, folder, label, guidance)
    stored = _read(run.home)
    if key in stored:
        known = dict(stored[key])
        return Advice(**{**known, "tried": tuple(known["tried"])})
    generator = run.denoising("restoring")
    generator.model.eval()
    labels = None if label is None else generator.label_indices(label, _ITEMS)
    blank = torch.zeros(_ITEMS, *run.format.shape, device=generator.model.device)
    keys = Draws.of(0, range(_ITEMS), "template", generator.model.device)
    try:
        template = measured_in_units(run, config, folder, blank, keys)
    except UserError as reason:  # what takes its maps or its noise from the measurement cannot be simulated
        why = f"the usual method: nothing like this measurement can be simulated ({reason})"
        return Advice(USUAL_METHOD, None, False, why, ())
    question = Question(
        generator.conditioned(labels, guidance, items=_ITEMS),
        template,
        run.format.shape,
        _ITEMS,
        device=generator.model.device,
    )

    def told(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)

    found = recommend(question, samples=_SAMPLES, most=_MOST, truths=TRUTHS, at_once=batch_size, told=told)
    advice = Advice(
        found.name, found.evaluations, found.calibrated, found.reason, tuple(t.told() for t in found.trials)
    )
    if run.path != run.checkpoint.path:  # what is stored in a checkpoint is listed in its manifest
        text = json.dumps({**stored, key: asdict(advice)}, indent=1, ensure_ascii=False) + "\n"
        write_file(run.home / FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return advice


def _key(run: Run, config: MeasurementConfig, folder: Path, label: Label, guidance: float) -> str:
    """A hash of the weights, of what is measured and how, with the files that say so, and of the condition."""
    parts = [weights_hash(run.checkpoint, run.weights), config.model_dump_json(), str(label), str(guidance)]
    conditions = run.sampled("restoring").conditions
    parts += [f"{name} {hashlib.sha256(v.numpy().tobytes()).hexdigest()}" for name, v in sorted(conditions.items())]
    for section in config.operators:
        named = (folder / str(getattr(section, field, None)) for field in ("file", "maps"))
        parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in named if path.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _read(home: Path) -> dict[str, Any]:
    """What is stored, nothing where there is no file or it cannot be read."""
    try:
        stored = json.loads((home / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
