"""Where commands write: the result on the standard output, everything on the way to it on the standard error."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console

    from pushforward.api import Stored

S = TypeVar("S", bound="Stored")


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
                print(clean(line), file=sys.stderr, flush=True)

    def opened(self, found: S) -> S:
        """What was read of a run, after saying which of its checkpoints were found broken."""
        self.say(*(f"skipped a broken checkpoint: {why}" for why in found.checkpoint.skipped))
        return found

    def result(self, values: Mapping[str, Any] | Sequence[Any], *lines: str) -> None:
        """The result: for a program with --json, else for a person."""
        if os.environ.get("RANK", "0") != "0":
            return
        if self.json:
            print(json.dumps(plain(values), ensure_ascii=False, allow_nan=False), flush=True)
        else:
            print(clean("\n".join(lines)), flush=True)

    def console(self) -> Console:
        """Where progress goes."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.silent)


DEFAULT = Common()
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "�")


def clean(text: str) -> str:
    """Text without control characters: names come from files, and a terminal obeys what is in them.

    >>> clean("\\x1b[2Jgone")
    '�[2Jgone'
    """
    return text.translate(_CONTROL)


def quoted(path: Path) -> str:
    """A path as it is typed into a shell."""
    return shlex.quote(str(path))


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
