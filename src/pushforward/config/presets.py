"""Presets: named starting points of a configuration, as the few entries in which they differ from the defaults."""

from __future__ import annotations

from typing import Any

from pushforward.errors import UserError

PRESETS: dict[str, dict[str, Any]] = {
    "edm": {},
    "ddpm": {"model": {"path": {"kind": "ddpm"}, "prediction": "noise", "times": "uniform"}},
    "cosine-v": {"model": {"path": {"kind": "cosine"}, "prediction": "v", "times": "uniform"}},
    "vp": {"model": {"path": {"kind": "vp"}, "prediction": "noise", "times": "uniform"}},
    "ncsn": {"model": {"path": {"kind": "ve"}, "prediction": "score", "times": "uniform"}},
    "flow-matching": {"model": {"path": {"kind": "straight"}, "prediction": "flow", "times": "logit-normal"}},
}


def preset(name: str) -> dict[str, Any]:
    """The entries of a preset. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
