"""log Z of an energy model, estimated once by annealed chains and stored beside its checkpoints.

`log_z.json` names the hash of the weights that it is of, and is taken for those weights alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushforward.energy.log_z import LogZ
from pushforward.training import storage

LOG_Z = "log_z.json"
_NUMBERS = "log_z", "standard_error", "effective", "accepted"
_PLAIN = "none"  # how items without a label are called


def read_log_z(run: Path, weights: str) -> dict[int | None, LogZ]:
    """What was stored in a run's folder for weights of this hash, by label (None: without); others are passed over."""
    try:
        stored = json.loads((run / LOG_Z).read_bytes())
        if stored["weights"] != weights:
            return {}
        return {None if name == _PLAIN else int(name): _read(entry) for name, entry in stored["labels"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_log_z(run: Path, weights: str, found: Mapping[int | None, LogZ]) -> bool:
    """Store estimates for the weights of this hash, atomically; False where the folder cannot be written."""
    labels = {_PLAIN if label is None else str(label): _entry(one) for label, one in found.items()}
    try:
        storage.replace_file(run / LOG_Z, storage.as_json({"weights": weights, "labels": labels}))
    except OSError:
        return False
    return True


def _entry(found: LogZ) -> dict[str, Any]:
    return {
        "log_z": found.value,
        "standard_error": found.standard_error,
        "effective": found.effective,
        "chains": found.chains,
        "accepted": found.accepted,
    }


def _read(entry: Mapping[str, Any]) -> LogZ:
    value, error, effective, accepted = (float(entry[name]) for name in _NUMBERS)
    return LogZ(value, error, effective, int(entry["chains"]), accepted)
