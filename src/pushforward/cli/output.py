"""Where commands write: the result on the standard output, everything on the way to it on the standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print the result as one JSON object")] = (
        False
    )
    quiet: Annotated[
        bool,
        Parameter(name=("--quiet", "-q"), negative=(), show_default=False, help="no progress and no notes"),
    ] = False
    debug: Annotated[bool, Parameter(negative=(), show_default=False, help="show the traceback of an error")] = False

    @property
    def silent(self) -> bool:
        """Whether this process keeps to itself: it was asked to, or it is not the first of several."""
        return self.quiet or os.environ.get("RANK", "0") != "0"

    def say(self, *lines: str) -> None:
        """Notes on the way."""
        if not self.silent:
            for line in lines:
                print(line, file=sys.stderr, flush=True)

    def result(self, values: Mapping[str, Any] | Sequence[Any], *lines: str) -> None:
        """The result: for a program with --json, else for a person."""
        if os.environ.get("RANK", "0") != "0":
            return
        if self.json:
            print(json.dumps(plain(values), ensure_ascii=False, allow_nan=False), flush=True)
        else:
            print("\n".join(lines), flush=True)

    def console(self) -> Console:
        """Where progress goes."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.silent)


DEFAULT = Common()


def plain(value: Any) -> Any:
    """JSON values: paths as text, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
