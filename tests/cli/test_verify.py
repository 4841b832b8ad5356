"""`verify` from the command line: the table, the JSON, one section, what fails, the page."""

from __future__ import annotations

import pytest

from pushforward import verification
from pushforward.verification import Check, solvers

GOOD = Check("one is one", "T07", "1 with 1", 1e-9, lambda: 0.0)
BAD = Check("one is two", "T08", "1 with 2", 1e-9, lambda: 1.0)


@pytest.fixture
def checks(monkeypatch):
    def put(*some):
        monkeypatch.setattr(verification, "CHECKS", some)

    return put


def test_one_section_of_the_real_ones(command):
    said = command("verify", "--only", "T17", "--json")
    assert said.code == 0, said
    assert all({"name", "tutorial", "measured", "tolerance", "passed"} <= set(row) for row in said.json)
    assert {row["tutorial"] for row in said.json} == {"T17"} and all(row["passed"] for row in said.json)
    assert len(said.json) >= 4


def test_the_table(command, checks):
    checks(GOOD, BAD)
    said = command("verify")
    assert said.code == 1
    assert "✓" in said.out and "✗" in said.out and "one is two" in said.out and "1 of 2 hold" in said.out


def test_failing_rows_are_still_one_list_of_json(command, checks):
    checks(GOOD, BAD)
    said = command("verify", "--json")
    assert said.code == 1
    assert [row["passed"] for row in said.json] == [True, False]


def test_sections_by_name(command, refused, checks):
    checks(GOOD, BAD)
    assert command("verify", "--only", "t07").code == 0
    assert command("verify", "--only", "T07", "--only", "T08").code == 1
    sentence = refused("verify", "--only", "T80")
    assert "'T80'" in sentence and "did you mean T08?" in sentence


def test_the_page(command, refused, checks, monkeypatch, tmp_path):
    checks(GOOD)
    curves = [solvers.Curve(solver.name, solver.order, [8, 16], [0.2, 0.05]) for solver in solvers.DETERMINISTIC]
    first = [solvers.Curve("default sampler", 3, [8, 16], [0.1, 0.01]), *curves]
    monkeypatch.setattr(solvers, "curves", lambda: (first, curves[:2]))
    assert command("verify", "--plot", tmp_path / "orders.html", "--quiet").code == 0
    text = (tmp_path / "orders.html").read_text(encoding="utf-8")
    assert "one is one" in text and "<svg" in text
    assert "ends in .html" in refused("verify", "--plot", tmp_path / "orders.png")
