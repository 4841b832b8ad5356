"""Packages that are needed for some kinds of files alone: imported when one is met, or told of in a sentence."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pushforward.errors import UserError


def optional_package(module: str, files: str, extra: str) -> Any:
    """The module. Raises UserError, naming the extra that brings it, where it is not installed.

    >>> optional_package("math", "numbers", "none").floor(1.5)
    1
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(
            f"{files} need {package}, which is not installed: pip install 'pushforward[{extra}]'."
        ) from error


def brief(error: Exception) -> str:
    """The first line of what a package said."""
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
