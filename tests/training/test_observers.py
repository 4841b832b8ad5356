"""What watches a training."""

from __future__ import annotations

import io
import json
import os
import sys
import types

import pytest
from rich.console import Console
from small import Points, Small, recipe

from pushforward.errors import PushforwardError, UserError
from pushforward.training import Event, JsonLines, Preview, ProgressBar, TensorBoard, fit
from pushforward.training.observers import read_log


def test_lines_after_the_checkpoint_and_broken_ones_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "loss": 3.5}\n{"step": 3}\n[1]\n{"step": 2, "lo')
    log = JsonLines(path)
    log.start(Event(2, 10))
    log.step(Event(4, 10, losses={"loss": 1 / 3}, gradient_norms={"loss": 2.0}, learning_rate=0.1, speed=3.0))
    log.validation(Event(4, 10, validation={"model": 0.5, "ema-0.050": None}))
    log.saving(Event(4, 10))
    entries = read_log(path)
    assert [e["step"] for e in entries] == [1, 2, 4, 4]
    assert entries[2]["loss"] == 0.3333333 and entries[3]["validation"] == {"model": 0.5, "ema-0.050": None}
    assert Event(0, 1).loss is None


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    log = JsonLines(tmp_path / "no" / "metrics.jsonl")
    for call in (log.start, log.saving, log.validation):
        with pytest.raises(PushforwardError, match="could not be written"):
            call(Event(0, 1))


def test_previews_hold_the_average_and_change_nothing(tmp_path, points):
    seen = []

    def write(model, path):
        seen.append((path.name, model.training, [p.detach().clone() for p in model.parameters()]))

    plan = recipe(preview_every=10)
    fit(Small(), points, None, plan, tmp_path / "a", {}, observers=[Preview(tmp_path / "p", write)])
    fit(Small(), points, None, plan, tmp_path / "b", {})
    assert [name for name, *_ in seen] == ["step-00000010", "step-00000020", "step-00000024"]
    assert not any(training for _, training, _ in seen)
    hashes = [json.loads((tmp_path / n / "checkpoints/step-00000024/manifest.json").read_text())["files"] for n in "ab"]
    assert all(hashes[0][n] == hashes[1][n] for n in hashes[0] if n != "state.json")


def test_tensorboard_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(UserError, match=r"pushforward\[tensorboard\]"):
        TensorBoard(tmp_path)


def test_tensorboard_gets_every_entry(tmp_path, points, monkeypatch):
    written, opened = [], []

    class Writer:
        def __init__(self, folder, purge_step):
            opened.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def close(self):
            opened.append("closed")

    module = types.ModuleType("torch.utils.tensorboard.writer")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.ModuleType("torch.utils.tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", module)
    fit(Small(), points, Points(5, 1), recipe(), tmp_path / "r", {}, observers=[TensorBoard(tmp_path / "t")])
    assert opened == [(str(tmp_path / "t"), 1), "closed"]
    assert ("loss/loss", 24) in written and ("validation/ema-0.050", 8) in written and ("learning_rate", 3) in written
    assert len(written) == 8 * 3 + 3 * 3


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_says_loss_speed_and_time_left(tmp_path, points, terminal):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=150)
    bar = ProgressBar(console, every=0.0)
    fit(Small(), points, Points(5, 1), recipe(), tmp_path, {}, observers=[bar])
    fit(Small(), points, Points(5, 1), recipe(steps=40), tmp_path, {}, observers=[bar])
    shown = text.getvalue()
    for part in ("loss 1.", "validation 0.", "steps/s", "left", "continuing from step 24 of 40", "now has 40"):
        assert part in shown
    assert ("\x1b[" in shown) == terminal
    assert terminal or "step 24/24 · " in shown


def test_progress_is_quiet_between_lines(tmp_path, points):
    text = io.StringIO()
    fit(Small(), points, None, recipe(), tmp_path, {}, observers=[ProgressBar(Console(file=text, width=150))])
    assert text.getvalue().count("\n") == 1  # the last step alone
    assert os.environ.get("TERM") is None or text.getvalue().startswith("step 24/24")
