"""Results that are kept from run to run: one entry per problem, written as soon as it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "results"


def read(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(name: str, entry: str, found: dict[str, Any]) -> None:
    """Others may write at the same time: the file is read again."""
    results = read(name) | {entry: found}
    (FOLDER / f"{name}.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
