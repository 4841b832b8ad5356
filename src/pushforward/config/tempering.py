"""The temperature of a run that predicts classes: fitted to held-out rows once and stored with the run."""

from __future__ import annotations

import json

import torch

from pushforward.card.classes import fit_temperature, nearest_corner, published_rule
from pushforward.config.run import Run, weights_hash
from pushforward.data.dataset import Dataset
from pushforward.errors import UserError
from pushforward.models.card import Rows
from pushforward.models.predictor import SAMPLES, Predictor
from pushforward.training import storage

TEMPERATURE = "temperature.json"
UNFITTED = 0.3
"""Where no rows were held out, or the data are gone."""
_LEAST, _MOST = 10, 2000


def tempered(run: Run, predictor: Predictor, data: Dataset | None = None) -> Predictor:
    """The run's predictor with its temperature: as stored for these weights, else fitted now, some seconds' work.

    It is fitted when a training ends, on its `data`, so that predictions are the same where these cannot be read.
    """
    if not predictor.card.classify:
        return predictor
    weights = weights_hash(run.checkpoint, run.weights)
    found = _stored(run, weights)
    if found is None:
        found = _fitted(run, predictor, data)
        if found is not None and run.path != run.checkpoint.path:
            _store(run, weights, found)
    predictor.card.temperature.fill_(UNFITTED if found is None else found)
    return predictor


def _fitted(run: Run, predictor: Predictor, data: Dataset | None) -> float | None:
    try:
        data = data or run.data()
    except UserError:
        return None
    if len(data.validation) < _LEAST:
        return None
    return temperature_on(predictor, predictor.card.prepare(data.train, data.validation)[1])


def temperature_on(predictor: Predictor, held: Rows) -> float:
    """The temperature that makes the classes of these rows most likely.

    f has been fitted to them too; they have it from the parts that have not seen them, as certain as it is of new rows.
    """
    card = predictor.card
    y, f, x = held.values[:_MOST].split((card.outputs, card.outputs, card.inputs), 1)
    drawn = torch.cat(list(predictor.stream(x, SAMPLES, f=f, seed=1)))
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
