"""Decoding brain activity with a run's model as the prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from pushforward.brain import Prior, Recording, Settings, Study, study
from pushforward.brain.files import Reading, read_recording
from pushforward.config.rows import rows_of
from pushforward.config.run import Run
from pushforward.data.dataset import Dataset, Split
from pushforward.data.sources import load
from pushforward.errors import UserError
from pushforward.interop import Pipeline, as_generator

MOST = 5000
"""Items of the prior's training set that its components are found in and pictures are retrieved from."""


def brain(
    run: Run | Pipeline,
    data: Recording | str | Path,
    settings: Settings | None = None,
    *,
    reading: Reading | None = None,
    average: bool = False,
    items: np.ndarray | str | Path | None = None,
    nothing: Mapping[str, Tensor] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Study:
    """Learn from the training trials of a recording, draw what was seen in its test trials, and score that.

    Args:
        run: whose model is the prior, or a pipeline of diffusers (`read_pipeline`); it should not have been trained on
            the stimuli.
        data: a recording, or a file of one (`read_recording`).
        settings: how to decode; reading: how the file is read.
        average: decode the mean response to each test stimulus, not single trials.
        items: the prior's own pictures (m, *item_shape), or where they are; by default a run's training data, which is
            read again. A pipeline has none stored with it.
        nothing: of a pipeline that is guided, what stands for no condition (`interop.as_generator`).

    Raises:
        UserError: the run is no denoiser, or the recording does not fit it.
    """
    if isinstance(run, Pipeline):
        own = _pictures_of_pipeline(items)
        prior = Prior.of(as_generator(run, own.format, nothing=nothing))
        pictures = _spread(own.train)
    else:
        prior = Prior.of(run.generator)
        pictures = own_items(run) if items is None else _given(run, items)
    if not isinstance(data, Recording):
        names = prior.form.label_names if prior.classes else None
        data = read_recording(Path(data), replace(reading or Reading(), classes=names, told=prior.told))
    for name in prior.told:
        if name not in data.train.conditions:
            note(f"the trials say nothing of {name}, which the prior can be told: it is drawn without")
    if average:
        data = Recording(data.train, data.test.averaged(), data.regions)
    return study(prior, pictures, data, settings, note=note)


def _pictures_of_pipeline(items: np.ndarray | str | Path | None) -> Dataset:
    if items is None:
        raise UserError(
            "a pipeline has no pictures stored with it, and decoding finds its components in some and compares with "
            "them: give pictures like those that it was trained on, items=… (--items)"
        )
    return load(items if isinstance(items, np.ndarray) else str(items), validation=0.0, test=0.0)


def _given(run: Run, items: np.ndarray | str | Path) -> np.ndarray:
    """Pictures of the user's in the form of a run."""
    if isinstance(items, np.ndarray):
        return items
    return run.format.decode(rows_of(run, items, MOST).x)


def own_items(run: Run) -> np.ndarray:
    """Items of the training data of a run, at most `MOST`, spread over it."""
    try:
        train = run.data().train
    except UserError as error:
        raise UserError(
            f"decoding compares with the prior's own pictures, and {error}; others like them serve, items=… (--items)"
        ) from None
    return _spread(train)


def _spread(train: Split) -> np.ndarray:
    rows = np.linspace(0, len(train) - 1, min(len(train), MOST)).round().astype(np.int64)
    return np.asarray(train.values[rows])
