"""Samplers tuned to a trained model, stored beside its checkpoints: `tuned/<evaluations>.json`.

Each names the hash of the weights that it was fitted to, and is taken for those weights alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pushforward.errors import UserError
from pushforward.samplers.tuned import Tuned
from pushforward.samplers.tuning import TuningResult
from pushforward.training import storage

TUNED = "tuned"


def tuning_path(run: Path, evaluations: int) -> Path:
    """Where the sampler of this budget is stored."""
    return run / TUNED / f"{evaluations}.json"


def read_tunings(run: Path, weights: str) -> dict[int, Tuned]:
    """The samplers stored in a run's folder for weights of this hash, by evaluations; others are passed over."""
    found = (_read(path, weights) for path in sorted((run / TUNED).glob("*.json")))
    return {sampler.evaluations: sampler for sampler in found if sampler is not None}


def _read(path: Path, weights: str) -> Tuned | None:
    try:
        stored = json.loads(path.read_bytes())
        return Tuned.of_json(json.dumps(stored["sampler"])) if stored["weights"] == weights else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None


def write_tuning(run: Path, weights: str, result: TuningResult) -> Path:
    """Store the sampler of a result that helps, atomically. Raises OSError where the folder cannot be written."""
    if result.sampler is None:
        raise ValueError("there is no sampler to store: tuning did not help")
    path = tuning_path(run, result.sampler.evaluations)
    path.parent.mkdir(exist_ok=True)
    content: dict[str, Any] = {"weights": weights, "sampler": json.loads(result.sampler.to_json())}
    content |= {"tuned": result.tuned._asdict(), "default": result.default._asdict()}
    storage.replace_file(path, storage.as_json(content))
    return path
