"""The look of the report: one style sheet, no fonts or files from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from pushforward.report.svg import DARK, LIGHT

_GROUND = {"bg": "#fcfcfa", "ink": "#1d2026", "soft": "#5b626d", "line": "#e2e3e0", "panel": "#f4f4f0"}
_GROUND_DARK = {"bg": "#15171b", "ink": "#e7e8ea", "soft": "#a0a7b2", "line": "#2d3138", "panel": "#1d2025"}
_SIGNS = {"good": "#17714a", "bad": "#b3321f"}
_SIGNS_DARK = {"good": "#63d3a3", "bad": "#ff8f7a"}


def _root(colours: dict[str, str], series: tuple[str, ...]) -> str:
    named = {**colours, **{f"pf-{i}": c for i, c in enumerate(series, 1)}}
    return ":root { " + " ".join(f"--{name}: {value};" for name, value in named.items()) + " }\n"


@cache
def style() -> str:
    """The style sheet with its colours for light, dark and paper."""
    light, dark = _root(_GROUND | _SIGNS, LIGHT), _root(_GROUND_DARK | _SIGNS_DARK, DARK)
    sheet = files("pushforward.report").joinpath("style.css").read_text("utf-8")
    return f"{light}@media screen and (prefers-color-scheme: dark) {{ {dark} }}\n{sheet}"
