"""Generative models of your own data: train once, then sample, score, restore, predict and decide.

    import pushforward as pf

    data = pf.dataset("digits")
    run = pf.fit(data, "runs/digits", minutes=3)
    run.generator.sample(64).save("samples.png")

Importing is fast and changes nothing in the world: everything is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "configure": "pushforward.api",
    "dataset": "pushforward.api",
    "fit": "pushforward.api",
    "load": "pushforward.api",
    "CARDClassifier": "pushforward.estimators",
    "CARDRegressor": "pushforward.estimators",
    "UserError": "pushforward.errors",
    "PushforwardError": "pushforward.errors",
    "NumericalError": "pushforward.errors",
    "Interrupted": "pushforward.errors",
}

if TYPE_CHECKING:
    from pushforward.api import configure, dataset, fit, load
    from pushforward.errors import Interrupted, NumericalError, PushforwardError, UserError
    from pushforward.estimators import CARDClassifier, CARDRegressor

__all__ = [
    "CARDClassifier",
    "CARDRegressor",
    "Interrupted",
    "NumericalError",
    "PushforwardError",
    "UserError",
    "configure",
    "dataset",
    "fit",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pushforward' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
