"""Variances stored with a run: estimated once, and taken for the very weights they were estimated with."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.config.samplers import SAMPLERS, build_sampler
from pushforward.training.variances import VARIANCE, read_variances, variances_on, write_variances


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("variances")
    values = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    np.save(root / "values.npy", values)
    settings = ("model.network=mlp", "model.network.width=8", "training.batch_size=16", "training.validate_every=3")
    config = pf.configure(*settings)
    return pf.fit(str(root / "values.npy"), root / "run", config, steps=3, device="cpu")


def test_estimated_once_and_read_again(run, monkeypatch):
    assert run.generator.variance is None
    known = run.with_variance()
    assert (run.path / VARIANCE).is_file()
    monkeypatch.setattr("pushforward.config.run.variances_on", lambda *_: pytest.fail("estimated again"))
    again = pf.load(run.path, device="cpu")
    assert again.generator.variance == known.generator.variance
    assert again.with_variance() is again
    for name in SAMPLERS:
        sampler = build_sampler(name, again.generator.model, 6, again.generator.variance)
        assert np.isfinite(again.generator.sample(2, steps=6, sampler=sampler).values).all()


def test_never_taken_for_other_weights(run):
    table = run.with_variance().generator.variance
    stored = json.loads((run.path / VARIANCE).read_text())
    other = next(w for w in run.checkpoint.weights if w != run.weights)
    try:
        write_variances(run.path, "0" * 64, table)
        assert pf.load(run.path, device="cpu").generator.variance is None
        assert read_variances(run.path, "0" * 64) == table
    finally:
        (run.path / VARIANCE).write_text(json.dumps(stored))
    from pushforward.config.run import load_run

    assert load_run(run.path, weights=other, device="cpu").generator.variance is None


BROKEN = ("", "[]", "{", '{"weights": "a"}', '{"weights": "a", "log_ratios": [1, 0], "shares": [1, 1]}')


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_not_whole_is_not_there(tmp_path, text):
    (tmp_path / VARIANCE).write_text(text)
    assert read_variances(tmp_path, "a") is None


def test_a_folder_that_cannot_be_written_is_no_error(run, tmp_path):
    table = run.with_variance().generator.variance
    assert not write_variances(tmp_path / "nowhere", "a", table)


def test_a_checkpoint_by_itself_is_left_as_it_was(run):
    alone = pf.load(run.checkpoint.path, device="cpu").with_variance()
    assert alone.generator.variance is not None
    assert not (run.checkpoint.path / VARIANCE).exists()


def test_the_estimate_is_the_error_of_the_mean(run):
    data, model = run.data(), run.generator.model
    table = variances_on(model, data.train)
    batch = data.train.all()
    level = model.path.level(model.path.time(torch.tensor(0.0, dtype=torch.float64)))
    with torch.no_grad():
        z = torch.randn(50, *batch.values.shape, generator=torch.Generator().manual_seed(0))
        noisy = (level.alpha * batch.values + level.sigma * z).flatten(0, 1).float()
        mean = model.denoiser().estimate(noisy, level).mean
    error = float((mean - batch.values.repeat(50, 1)).square().mean())
    assert table.var(level) == pytest.approx(error, rel=0.25)
