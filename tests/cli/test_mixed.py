"""Mixed tables through the commands: columns, types and categories come back."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet as pq


def test_a_mixed_table(tmp_path, command, refused):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 260)
    rows = [["age", "job", "income", "rooms", "town"]]
    rows += [
        [
            int(20 + 10 * k + rng.integers(5)),
            ("cook", "nurse", "pilot")[k],
            f"{1000 * (k + 1) + rng.normal():.2f}",
            k + 1,
            "here",
        ]
        for k in kinds
    ]
    with (tmp_path / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    ways = ("--family", "mixed", "--steps", 20, "--set", "model.width=32", "--set", "model.depth=1", "--device", "cpu")
    out = tmp_path / "run"
    ways = (*ways, "--set", 'data.categories=["rooms"]', "--set", "training.batch_size=32")
    trained = command("train", tmp_path / "people.csv", *ways, "--out", out)
    assert trained.code == 0, trained.err
    assert command("sample", out, "-n", 30, "--steps", 10, "-o", tmp_path / "more.csv").code == 0
    with (tmp_path / "more.csv").open() as file:
        made = list(csv.reader(file))
    assert made[0] == rows[0] and len(made) == 31
    for age, job, income, rooms, town in made[1:]:
        assert (
            20 <= int(age) <= 44 and job in {"cook", "nurse", "pilot"} and rooms in {"1", "2", "3"} and town == "here"
        )
        assert len(income.partition(".")[2]) <= 2
    assert command("sample", out, "-n", 5, "-o", tmp_path / "more.parquet").code == 0
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "more.parquet")}
    assert types == {"age": "int64", "job": "string", "income": "double", "rooms": "int64", "town": "string"}
    page = command("report", out, "-n", 60)
    assert page.code == 0, page.err
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "distance to the closest record" in text and "usefulness" in text and "nurse" in text
    assert "no likelihood" in refused("likelihood", out)
    assert "denoisers" in refused("sample", out, "--sampler", "ddim")
    (tmp_path / "plain.csv").write_text("a,b\n" + "0.5,1\n0.25,2\n" * 20)
    assert "no categories" in refused("train", tmp_path / "plain.csv", *ways[:4], "--out", tmp_path / "no")
