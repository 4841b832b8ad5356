"""`tune` on an exact network, where it helps; what is stored, when it is used, when it is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from pushforward import api
from pushforward.config import tuning
from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.samplers import simulate
from pushforward.samplers.default import Sampler
from pushforward.samplers.tuned import OwnGrid, Tuned
from pushforward.samplers.tuning import Effort, Figures, TuningResult
from pushforward.training.tunings import read_tunings, write_tuning

EFFORT = Effort(starts=64, batch=16, steps=10, reference=16, validation=16, held_out=32)


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run, to be written to."""
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path / "run"


def always(monkeypatch, helps=True):
    """Tuning whose judgement is settled: the small network has been trained for three steps, and its flow is noise."""
    real = tuning.fit

    def fit(*args, **options):
        found = real(*args, **{**options, "effort": EFFORT})
        sampler = (found.sampler or SAMPLER) if helps else None
        return replace(found, sampler=sampler, reason="it helps" if helps else "it is no better")

    monkeypatch.setattr(tuning, "fit", fit)


SAMPLER = Tuned(0.5, 80.0, (2.0, 0.2), (1.0, 1.0, 1.0), ((0.5,), (0.5, 0.2)))


def test_what_helps_is_stored_and_used(command, run, monkeypatch):
    always(monkeypatch)
    said = command("tune", run, "--evaluations", 2, "--json", "--device", "cpu")
    assert said.code == 0, said
    assert said.json["helps"] and said.json["out"].endswith("tuned/2.json")
    found = api.load(run, device="cpu")
    assert set(found.generator.tuned) == {2}
    chosen = found.generator.usual_sampler(2)
    assert isinstance(chosen, Sampler) and isinstance(chosen.grid, OwnGrid)
    assert not isinstance(found.generator.usual_sampler(3).grid, OwnGrid)
    assert not isinstance(found.generator.usual_sampler(2, guidance=2.0).grid, OwnGrid)
    sampled = command("sample", run, "--steps", 2, "-n", 2, "-o", run / "s.png", "--json", "--device", "cpu")
    assert sampled.json["tuned"]
    named = command("sample", run, "--steps", 2, "-n", 2, "-o", run / "s.png", "--sampler", "ddim", "--json")
    assert not named.json["tuned"]


def test_what_does_not_help_is_refused_with_the_reason(command, run, monkeypatch):
    always(monkeypatch, helps=False)
    said = command("tune", run, "--evaluations", 2, "--device", "cpu")
    assert said.code == 0 and "not stored: it is no better" in said.out
    assert not (run / "tuned").exists()


def test_other_weights_do_not_use_it(run):
    (run / "tuned").mkdir()
    result = TuningResult(SAMPLER, "it helps", Figures(0.1, 0.1), Figures(0.2, 0.2))
    path = write_tuning(run, "weights of a hash", result)
    assert json.loads(path.read_text())["tuned"] == {"rms": 0.1, "median": 0.1}
    assert read_tunings(run, "weights of a hash") == {2: SAMPLER}
    assert read_tunings(run, "others") == {}
    assert api.load(run, device="cpu").generator.tuned == {}
    path.write_text("{ broken")
    assert read_tunings(run, "weights of a hash") == {}
    with pytest.raises(ValueError, match="no sampler to store"):
        write_tuning(run, "x", TuningResult(None, "no", Figures(1, 1), Figures(1, 1)))


def test_a_tuned_sampler_alone_is_the_same_as_on_its_levels():
    path = EDM()
    mixture = Mixture.of_covariances(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    draws = Draws.of(0, range(3))
    x = path.prior(draws.normal((2,)))
    denoiser = MixtureDenoiser(mixture, path)
    whole = SAMPLER.whole().sample(denoiser, x, 2, draws)
    assert torch.equal(whole, simulate(denoiser, SAMPLER, x, SAMPLER.levels(path), draws))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--evaluations", "1"), "at least 2 evaluations; got 1"),
        (("--effort", "0"), "effort of tuning is above 0"),
        (("--effort", "nan"), "effort of tuning is above 0"),
    ],
)
def test_wrong_options(refused, small_run, options, says):
    assert says in refused("tune", small_run, "--device", "cpu", *options)


def test_a_single_checkpoint_is_refused(refused, small_run):
    [checkpoint, *_] = sorted((small_run / "checkpoints").iterdir())
    assert "the folder of its run" in refused("tune", checkpoint, "--device", "cpu")


def test_the_effort_is_a_share(small_run):
    assert api.effort_of(1.0) == Effort()
    assert api.effort_of(0.25).starts == 4096
    with pytest.raises(UserError, match="at most 10"):
        api.effort_of(11)
