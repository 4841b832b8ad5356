"""Results one by one on disk: what is there is not computed again, so that a benchmark can be stopped at any time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def stored(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is in the file, computed and written first where it is not there."""
    if path.exists():
        return dict(json.loads(path.read_text()))
    return store(path, compute())


def store(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What was found, now in the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(found, indent=1))
    temporary.replace(path)
    return found
