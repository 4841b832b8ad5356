"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Folder = Annotated[Path, Parameter(name="RUN", help="the folder of a run")]
Which = Annotated[str, Parameter(help="which checkpoint: best or last")]
Device = Annotated[str | None, Parameter(help="cpu, cuda, cuda:1, mps … [the fastest]")]
SOURCE = "test, validation or train of the run's own data, or a file or folder of the same form"
