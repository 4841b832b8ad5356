"""Decoding brain activity with a run's model as the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pushforward.brain import Prior, Recording, Settings, Study, study
from pushforward.brain.files import Reading, read_recording
from pushforward.config.run import Run
from pushforward.errors import UserError

MOST = 5000
"""Items of the prior's training set that its components are found in and pictures are retrieved from."""


def brain(
    run: Run,
    data: Recording | str | Path,
    settings: Settings | None = None,
    *,
    reading: Reading | None = None,
    average: bool = False,
    items: np.ndarray | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Study:
    """Learn from the training trials of a recording, draw what was seen in its test trials, and score that.

    Args:
        run: whose model is the prior; it should not have been trained on the stimuli.
        data: a recording, or a file of one (`read_recording`).
        settings: how to decode; reading: how the file is read.
        average: decode the mean response to each test stimulus, not single trials.
        items: the prior's own pictures (m, *item_shape), by default its training data, which is read again.

    Raises:
        UserError: the run is no denoiser, or the recording does not fit it.
    """
    prior = Prior.of(run.generator)
    if not isinstance(data, Recording):
        names = run.format.label_names if prior.classes else None
        data = read_recording(Path(data), replace(reading or Reading(), classes=names))
    if average:
        data = Recording(data.train, data.test.averaged(), data.regions)
    return study(prior, own_items(run) if items is None else items, data, settings, note=note)


def own_items(run: Run) -> np.ndarray:
    """Items of the training data of a run, at most `MOST`, spread over it."""
    try:
        train = run.data().train
    except UserError as error:
        raise UserError(f"decoding compares with the prior's own pictures, and {error}") from None
    rows = np.linspace(0, len(train) - 1, min(len(train), MOST)).round().astype(np.int64)
    return np.asarray(train.values[rows])
