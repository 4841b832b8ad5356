"""Operators that a Python file of the user's makes: the one place where a file that is named is run."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch

from pushforward.errors import UserError
from pushforward.inverse import LinearOperator, Operator, as_operator

_DOUBLE, _SINGLE = 1e-6, 1e-4
"""By how much ⟨A x, y⟩ and ⟨x, A* y⟩ may differ, relative."""


def run_operator(path: Path, name: str, shape: tuple[int, ...], single: bool) -> Operator:
    """What is called `name` after `path` was run, as an operator of items of `shape`; one that is linear is checked.

    Raises UserError where there is no such file or name, where its code fails, and where the adjoint is not one.
    """
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"{path}, which the operator names, cannot be run: it is no .py file, or there is none")
    try:
        made = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} cannot be run: {_told(error)}") from error
    if name not in made:
        raise UserError(f"{path} makes nothing that is called {name}: say which, name = …")
    given = made[name]
    if isinstance(given, Operator) and not isinstance(given, LinearOperator):
        return given
    try:
        return as_operator(
            given, shape, dtype=torch.float32 if single else None, tolerance=_SINGLE if single else _DOUBLE
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        raise UserError(
            f"{path}: {name} does not take items of the shape {shape}, behind an axis of items, in "
            f"{'single' if single else 'double'} precision: {_told(error)}"
        ) from error


def _told(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
