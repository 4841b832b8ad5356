"""The temperature of a run that predicts classes: fitted to held-out rows once and stored with the run."""

from __future__ import annotations

import json

import numpy as np
import torch

from pushforward.card.classes import fit_temperature, nearest_corner, published_rule
from pushforward.config.run import Run, weights_hash
from pushforward.data.dataset import Split
from pushforward.errors import UserError
from pushforward.models.predictor import SAMPLES, Predictor
from pushforward.training import storage

TEMPERATURE = "temperature.json"
UNFITTED = 0.3
"""Where no rows were held out, or the data are gone."""
_LEAST, _MOST = 10, 2000


def tempered(run: Run, predictor: Predictor) -> Predictor:
    """The run's predictor with its temperature: as stored for these weights, else fitted now, some seconds' work."""
    if not predictor.card.classify:
        return predictor
    weights = weights_hash(run.checkpoint, run.weights)
    found = _stored(run, weights)
    if found is None:
        found = _fitted(run, predictor)
        if found is not None and run.path != run.checkpoint.path:
            _store(run, weights, found)
    predictor.card.temperature.fill_(UNFITTED if found is None else found)
    return predictor


def _fitted(run: Run, predictor: Predictor) -> float | None:
    try:
        held = run.data().validation
    except UserError:
        return None
    return None if len(held) < _LEAST else temperature_on(predictor, held)


def temperature_on(predictor: Predictor, split: Split) -> float:
    """The temperature that makes the classes of these rows most likely."""
    card = predictor.card
    y, x = split.batch(np.arange(min(len(split), _MOST))).values.split((card.outputs, card.inputs), 1)
    drawn = torch.cat(list(predictor.stream(x, SAMPLES, seed=1)))
    return fit_temperature(drawn, y.argmax(1), published_rule if card.published else nearest_corner)


def _stored(run: Run, weights: str) -> float | None:
    try:
        stored = json.loads((run.home / TEMPERATURE).read_bytes())
        value = float(stored["temperature"])
        return value if stored["weights"] == weights and 0 < value < 1e6 else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _store(run: Run, weights: str, temperature: float) -> None:
    content = {"weights": weights, "temperature": temperature}
    try:
        storage.replace_file(run.home / TEMPERATURE, storage.as_json(content))
    except OSError:  # a folder that cannot be written is read all the same
        return
