"""What is put around a run's estimates while it is sampled."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.config.rows import rows_of
from pushforward.config.shaping import parse_interval, shaped
from pushforward.denoisers import Clipped, DynamicThreshold, GuidanceInterval, Guided
from pushforward.errors import UserError
from pushforward.models.denoising import LatentGenerator
from pushforward.numerics.random import Draws

TINY = ("model.network.width=8", "training.batch_size=8", "training.ema_lengths=[0.1]")


def trained(root, data, *settings):
    return pf.fit(str(data), root / "run", pf.configure(*TINY, *settings), steps=2, device="cpu", observers=[])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    np.savez(root / "p.npz", x=rng.integers(0, 256, (40, 8, 8)).astype(np.uint8), y=np.arange(40) % 2)
    run = trained(root, root / "p.npz")
    with torch.no_grad():  # so short a training leaves the output near zero, whatever the label
        for i, p in enumerate(run.generator.model.parameters()):
            p += 0.1 * Draws.of(i, [0]).normal(p.shape)[0]
    return run


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    rows = np.random.default_rng(0).random((60, 2)) * (1, 50) + (0, 100)
    np.savetxt(root / "t.csv", rows, delimiter=",", header="a,b", comments="")
    return trained(root, root / "t.csv", "model.network=mlp")


@pytest.mark.parametrize("text", ["3", "a,b", "1,2,3", "", "0.2;5"])
def test_what_is_no_interval(text):
    with pytest.raises(UserError, match=r"such as 0\.2,5; got"):
        parse_interval(text)


def test_an_interval():
    assert parse_interval("0.2, 5") == GuidanceInterval(0.2, 5.0)
    assert parse_interval("0.2,inf").high == math.inf
    for text in ("5,0.2", "-1,2", "nan,2"):
        with pytest.raises(UserError, match="0 ≤ low < high"):
            parse_interval(text)


def test_guidance_acts_between_two_levels(pictures):
    run = shaped(pictures, guidance=3.0, interval=GuidanceInterval(0.2, 5.0))
    denoiser = run.generator.conditioned(torch.tensor([0, 1]), 3.0)
    assert isinstance(denoiser, Guided) and denoiser.interval == GuidanceInterval(0.2, 5.0)
    ways = [
        run.generator.sample(2, steps=4, guidance=3.0).values.astype(float)
        for run in (pictures, run, shaped(pictures, guidance=3.0, interval=GuidanceInterval(1e-9, 1e9)))
    ]
    assert np.array_equal(ways[0], ways[2]) and not np.array_equal(ways[0], ways[1])


def test_latents_are_guided_between_two_levels_and_have_no_range(pictures):
    latent = replace(pictures, generator=LatentGenerator(pictures.generator.model, pictures.format, pictures.generator))
    run = shaped(latent, guidance=3.0, interval=GuidanceInterval(0.2, 5.0))
    assert isinstance(run.generator, LatentGenerator)
    assert run.generator.inner.interval == GuidanceInterval(0.2, 5.0)
    with pytest.raises(UserError, match="a range of estimates works on denoisers of the items themselves"):
        shaped(latent, guidance=3.0, interval=GuidanceInterval(0.2, 5.0), clip=True)


def test_estimates_keep_the_range(pictures, table):
    for run, kind in ((shaped(pictures, clip=True), Clipped), (shaped(pictures, threshold=0.9), DynamicThreshold)):
        around = run.generator.around(run.generator.model.denoiser())
        assert isinstance(around, kind)
        mean = around(5 * Draws.of(0, range(3)).normal((1, 8, 8)), 0.1).mean
        assert float(mean.abs().max()) <= 1.0
        assert not run.generator.uses_tuned(20)
    run = shaped(table, clip=True)
    with torch.no_grad():
        around = run.generator.around(run.generator.model.denoiser())
        mean = around(50 * Draws.of(0, range(9)).normal((2,)), run.generator.model.path.level(0.0)).mean
    values, coding = run.format.decode(mean), run.format.coding
    assert (values >= np.array(coding.low) - 1e-6).all() and (values <= np.array(coding.high) + 1e-4).all()
    assert np.allclose(values.min(0), coding.low, atol=1e-4) and np.allclose(values.max(0), coding.high, atol=1e-4)
    assert np.isfinite(run.generator.sample(3, steps=4).values).all()


def test_what_has_no_meaning_is_refused(pictures, table):
    for given, says in (
        ({"interval": GuidanceInterval(0.2, 5.0)}, "its weight is 1, none: give --guidance too"),
        ({"clip": True, "threshold": 0.9}, "give one of the two"),
        ({"threshold": 0.0}, r"quantile in \(0, 1\], such as 0.995; got 0"),
        ({"threshold": math.nan}, "got nan"),
    ):
        with pytest.raises(UserError, match=says):
            shaped(pictures, **given)
    with pytest.raises(UserError, match="kind table: use --clip"):
        shaped(table, threshold=0.9)
    assert shaped(table) is table


def test_numbers_of_another_unit_and_words_for_numbers_are_refused(table, tmp_path):
    (tmp_path / "far.csv").write_text("a,b\n0.5,120\n0.5,120000\n")
    with pytest.raises(UserError, match=r"row 1 of .*far.csv has 120000 in column 'b', more than 1000 deviations"):
        rows_of(table, tmp_path / "far.csv")
    for given, says in (
        ({"n": "3"}, "number of samples must be a whole number; got '3'"),
        ({"n": 3, "steps": "5"}, "number of steps must be a whole number; got '5'"),
        ({"n": 3, "guidance": "2"}, "guidance must be a finite number, 1 for none; got '2'"),
    ):
        with pytest.raises(UserError, match=says):
            table.generator.sample(**given)
