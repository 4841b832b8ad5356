"""The training of an estimator's model in a folder of its own or of the user's, from which it continues."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.card.means import Mean
from pushforward.estimators.settings import Setting
from pushforward.models.card import Card, Rows
from pushforward.training.checkpoint import load_weights, read_checkpoint
from pushforward.training.folder import checkpoint_path, find_checkpoint
from pushforward.training.loop import Outcome
from pushforward.training.loop import fit as train
from pushforward.training.recipe import Recipe

SAVE_SECONDS = 60.0


def train_card(
    card: Card, items: tuple[Rows, Rows], recipe: dict[str, Any], folder: str | Path | None, about: Mapping[str, Any]
) -> int:
    """Train and leave the model with its best weights; returns the steps. Without a folder nothing is kept.

    Raises UserError where the folder holds the fit of something else: `about` says what is fitted.
    """
    if folder is not None:
        outcome = train(card, *items, Recipe(**recipe, save_seconds=SAVE_SECONDS), folder, about)
        load_weights(card, find_checkpoint(folder))
        return outcome.total
    with tempfile.TemporaryDirectory() as scratch:
        outcome = train(card, *items, Recipe(**recipe, save_seconds=None), scratch, about)
        load_weights(card, read_checkpoint(_best(outcome)))
        return outcome.total


def _best(outcome: Outcome) -> Path:
    folder = outcome.checkpoint.parent.parent
    return checkpoint_path(folder, outcome.best.step) if outcome.best else outcome.checkpoint


def description(raw: np.ndarray, setting: Setting, mean: Any, logs: bool) -> dict[str, Any]:
    """What a fit is known by: its rows, its setting, its regression. Raw rows are float64 (N, features + targets).

    `logs`: whether the network is told log-probabilities. What earlier versions did not know is left out where it is
    as it was.
    """
    kept = {name: value for name, value in asdict(setting).items() if name != "feature_dropout" or value}
    return {
        "rows": list(raw.shape),
        "data": blake2b(np.ascontiguousarray(raw).data, digest_size=16).hexdigest(),
        "setting": {"kind": type(setting).__name__, **kept} | ({"log_probabilities": True} if logs else {}),
        "mean": _name(mean),
    }


def _name(mean: Any) -> str:
    """Of a regression, without the places in memory that differ from process to process."""
    if mean is None:
        return "chosen"
    if isinstance(mean, Mean):
        return type(mean).__name__
    if hasattr(mean, "fit"):
        return re.sub(r" at 0x[0-9a-f]+", "", repr(mean))
    return f"{getattr(mean, '__module__', '')}.{getattr(mean, '__qualname__', type(mean).__qualname__)}"
