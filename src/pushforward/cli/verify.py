"""`pushforward verify`: the identities of the tutorial, run on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.output import DEFAULT, Common
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.verification import Check, Row


def verify(
    *,
    only: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="a section of the tutorial, such as T08; several in turn"),
    ] = (),
    plot: Annotated[
        Path | None, Parameter(help="a page (.html) with error against evaluations of all samplers")
    ] = None,
    common: Common = DEFAULT,
) -> int:
    """Check the identities of the tutorial against quadrature, closed forms and simulation; 1 if any fails."""
    if plot is not None and plot.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the plot is a page and its name ends in .html; got {plot}")
    rows = _run(_chosen(only), common)
    if plot is not None:
        _plot(rows, plot, common)
    common.result([row.to_dict() for row in rows], *_table(rows))
    return 0 if all(row.passed for row in rows) else 1


def _chosen(only: Sequence[str]) -> list[Check]:
    from pushforward.verification import CHECKS

    known = sorted({check.tutorial for check in CHECKS})
    wanted = {section.upper() for section in only}
    for section in sorted(wanted - set(known)):
        near = difflib.get_close_matches(section, known, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "possible:"
        raise UserError(f"there are no checks of section {section!r}; {hint} {', '.join(known)}")
    return [check for check in CHECKS if not wanted or check.tutorial in wanted]


def _run(checks: Sequence[Check], common: Common) -> list[Row]:
    rows = []
    with Bar(common, "checking", len(checks)) as bar:
        for i, check in enumerate(checks, 1):
            rows.append(check())
            bar(i, len(checks))
    return rows


def _plot(rows: Sequence[Row], path: Path, common: Common) -> None:
    from pushforward.data.atomic import write_file
    from pushforward.verification.plot import page
    from pushforward.verification.solvers import curves

    common.say("measuring error against evaluations")
    text = page(rows, *curves())
    write_file(path, lambda file: file.write_text(text, encoding="utf-8"))
    common.say(f"the plot is {path.resolve()}")


def _table(rows: Sequence[Row]) -> list[str]:
    """What a terminal shows; the width is the terminal's, and 160 columns in a file."""
    import shutil
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "identity", "in", "compared", "largest error", "tolerance", "note", box=None, pad_edge=False)
    for column in (4, 5):
        table.columns[column].justify = "right"
    for row in rows:
        cells = (row.name, row.tutorial, row.compared, f"{row.measured:.1e}", f"{row.tolerance:.1e}", row.shown)
        table.add_row("✓" if row.passed else "✗", *map(Text, cells), style=None if row.passed else "bold red")
    console = Console(file=StringIO(), width=max(shutil.get_terminal_size((160, 24)).columns, 100))
    console.print(table)
    seconds = sum(row.seconds for row in rows)
    good = sum(row.passed for row in rows)
    text = console.file.getvalue().rstrip()  # type: ignore[attr-defined]
    return [*text.splitlines(), "", f"{good} of {len(rows)} hold, in {seconds:.0f} s"]
