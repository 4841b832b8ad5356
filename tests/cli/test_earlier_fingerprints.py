"""Runs that know their data by the hash of an earlier recipe: accepted where all else agrees, and told."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pushforward.data import fingerprint

from .conftest import SMALL, write_csv


@pytest.fixture
def earlier(command, tmp_path, monkeypatch):
    """`earlier(steps)`: the arguments that continue a training begun by a version with another recipe."""
    data = (write_csv(tmp_path / "people.csv"), "--label-column", "kind")
    argv = ["train", *data, "--out", tmp_path / "run", "--quiet", "--json", *SMALL]
    monkeypatch.setattr(fingerprint, "RECIPE", fingerprint.RECIPE - 1)
    assert command(*argv).code == 0
    monkeypatch.undo()
    return lambda steps: [str(steps) if before == "--steps" else part for before, part in pairwise(["", *argv])]


def test_the_run_is_evaluated_with_a_notice(command, earlier, tmp_path):
    said = command("evaluate", tmp_path / "run", "-n", 20, "--steps", 2)
    assert said.code == 0 and "by a hash of another version of pushforward" in said.err


def test_the_run_is_continued_again_and_again_with_a_notice(command, earlier):
    for steps in (4, 5):
        said = command(*earlier(steps))
        assert said.code == 0, said.err
        assert said.json["step"] == steps and "another version of pushforward" in said.json["notes"][0]


def test_other_rows_are_refused_though_the_hash_cannot_tell(refused, earlier, tmp_path):
    write_csv(tmp_path / "people.csv", rows=41)
    assert "has changed since" in refused("evaluate", tmp_path / "run", "--quiet")
    assert "hash of its contents" in refused(*(part for part in earlier(4) if part != "--json"))
