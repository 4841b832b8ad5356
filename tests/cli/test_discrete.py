"""Discrete diffusion through the commands: a text file, its lines, integer images and tables of categories."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import pushforward as pf
from pushforward.cli.main import main
from pushforward.errors import UserError

SMALL = ("--set", "model.width=32", "--set", "model.depth=1", "--set", "training.batch_size=16", "--device", "cpu")
WORDS = ("the cat sat on the mat. ", "a dog ran to the cat. ", "the mat was red. ")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    rng = np.random.default_rng(0)
    path.write_text("".join(WORDS[i] for i in rng.integers(0, 3, 300)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(story, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "story"
    argv = ["train", story, "--family", "discrete", "--steps", 200, "--set", "data.length=24", *SMALL, "--out", out]
    assert main([*map(str, argv), "--set", "training.learning_rate=0.01", "--quiet"]) == 0
    return out


def test_a_text_is_learned_and_drawn(run, command, tmp_path):
    drawn = command("sample", run, "-n", 5, "-o", tmp_path / "some.txt", "--json")
    assert drawn.code == 0, drawn.err
    texts = (tmp_path / "some.txt").read_text(encoding="utf-8").split("\n" + "-" * 72 + "\n")
    assert [len(text.rstrip("\n")) for text in texts] == [24] * 5
    assert set("".join(texts)) <= set("".join(WORDS)) | {"\n"}
    again = command("sample", run, "-n", 2, "-o", tmp_path / "again.jsonl", "--steps", 8, "--temperature", 0.5)
    assert again.code == 0 and len((tmp_path / "again.jsonl").read_text().splitlines()) == 2
    assert len(list((run / "previews").glob("*.txt"))) > 0


def test_likelihood_in_bits_per_character(run, command, refused):
    scored = command("likelihood", run, "-n", 8, "--json")
    assert scored.code == 0, scored.err
    bits, uniform = scored.json["bits_per_dim"], scored.json["baselines"]["uniform"]
    assert scored.json["unit"] == "character" and 0 < bits < -uniform / (24 * np.log(2)) - 1
    unigram = -scored.json["baselines"]["gaussian"] / (24 * np.log(2))
    assert bits < unigram  # after these few steps already words are known
    closer = command("likelihood", run, "-n", 8, "--block", 2, "--repeats", 4, "--json")
    assert closer.json["evaluations"] == 4 * 12 and closer.json["bits_per_dim"] < bits + 0.1, closer.err
    assert "at least one site" in refused("likelihood", run, "--block", 0)
    assert "bits per character" in command("likelihood", run, "-n", 8).out


def test_gaps_are_filled_and_texts_continued(run, command, refused):
    filled = command("infill", run, "--text", "the c__ sat", "-n", 3, "--json")
    assert filled.code == 0, filled.err
    assert all(text.startswith("the c") and text.endswith(" sat") and len(text) == 11 for text in filled.json["texts"])
    longer = command("infill", run, "--prompt", "the cat", "--length", 70, "-n", 2, "--sampler", "one-by-one", "--json")
    assert longer.code == 0, longer.err
    assert all(text.startswith("the cat") and len(text) == 70 for text in longer.json["texts"])
    assert "'Z'" in refused("infill", run, "--text", "Z_")
    assert "longer than the 24" in refused("infill", run, "--text", "the cat sat on the mat. _" * 2)
    assert "no '_'" in refused("infill", run, "--text", "the cat")
    assert "one of the two" in refused("infill", run)
    assert "did you mean 'euler'" in refused("infill", run, "--text", "the _", "--sampler", "eular")
    kept = command("infill", run, "--text", "the c_t", "-n", 4, "--sampler", "corrected", "--steps", 6, "--json")
    assert all(text.startswith("the c") and text.endswith("t") for text in kept.json["texts"]), kept.json
    assert "leave out the steps" in refused("sample", run, "--sampler", "one-by-one", "--steps", 4)


def test_report_info_and_resume(run, story, command):
    page = command("report", run, "-n", 24)
    assert page.code == 0, page.err
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Gaps filled in" in text and "JS of 3 units" in text
    assert "absorbing" in command("info", run).out
    more = ("train", story, "--family", "discrete", "--steps", 202, "--set", "data.length=24", *SMALL, "--out", run)
    resumed = command(*more, "--set", "training.learning_rate=0.01", "--json")
    assert resumed.code == 0 and resumed.json["step"] == 202


def test_files_that_are_no_text(tmp_path, refused, story, run):
    def written(content):
        path = tmp_path / "bad.txt"
        path.write_bytes(content)
        return path

    ways = ("--family", "discrete", "--steps", 1)
    assert "is empty" in refused("train", written(b" \n "), *ways)
    assert "repeats one symbol" in refused("train", written(b"aaaa" * 200), *ways)
    assert "not UTF-8 text (byte 1, line 1)" in refused("train", written(b"a\xe9 b" * 100), *ways)
    assert "UTF-16" in refused("train", written("text".encode("utf-16") * 100), *ways)
    assert "at least three pieces" in refused("train", written(b"ab" * 20), "--set", "data.length=30", *ways)
    assert "line 2" in refused(
        "train", written(b"ab\nabcdefgh\nab\n" * 3), "--set", "data.lines=true", "--set", "data.length=5", *ways
    )
    assert "--family discrete" in refused("train", story, "--steps", 1)
    assert "'Z'" in refused("likelihood", run, "--data", written(b"the cat Z sat on the mat" * 9))
    assert "is a text" not in refused("sample", run, "-o", tmp_path / "x.png")


def test_lines_are_items(tmp_path, command):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(["anna", "bob", "carla"] * 30) + "\n")
    ways = ("--family", "discrete", "--steps", 4, "--set", "data.lines=true", *SMALL)
    assert command("train", path, *ways, "--out", tmp_path / "run").code == 0
    assert command("sample", tmp_path / "run", "-n", 4, "-o", tmp_path / "more.txt").code == 0
    assert len((tmp_path / "more.txt").read_text().splitlines()) == 4
    filled = command("infill", tmp_path / "run", "--text", "_nna", "-n", 8, "--json").json["texts"]
    assert all(len(text) == 4 and text.endswith("nna") for text in filled)
    assert command("likelihood", tmp_path / "run", "-n", 4, "--json").json["bits_per_dim"] is None


@pytest.mark.parametrize("rates", ["absorbing", "uniform", "gaussian", "birth-death"])
def test_images_of_few_levels(rates, tmp_path, command, refused):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 5, size=(60, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(60) % 3)
    ways = ("--family", "discrete", "--steps", 2, "--set", f"model.rates={rates}", "--set", "model.width=8")
    out = tmp_path / "run"
    trained = command("train", tmp_path / "images.npz", *ways, "--set", "training.batch_size=8", "--out", out)
    assert trained.code == 0, trained.err
    sampler = {"absorbing": "one-by-one", "gaussian": "ordered-leaping"}.get(rates, "corrected")
    more = ("--sampler", sampler, *(() if rates == "absorbing" else ("--steps", 4)), "--label", 2)
    drawn = command("sample", out, "-n", 3, "-o", tmp_path / "some.npz", *more, "--guidance", 1.5)
    assert drawn.code == 0, drawn.err
    assert np.load(tmp_path / "some.npz")["x"].max() <= 4
    scored = command("likelihood", out, "-n", 4, "--json")
    assert scored.code == 0 and 0 < scored.json["bits_per_dim"] < 10, scored.err
    assert command("likelihood", out, "-n", 2, "--repeats", 3, "--json").json["evaluations"] == 3
    assert "sequences alone" in refused("likelihood", out, "-n", 2, "--block", 3)
    if rates == "uniform":
        assert "masked" in refused("sample", out, "--sampler", "one-by-one")
    if rates == "absorbing":
        assert command("report", out, "-n", 10).code == 0
        known = pf.load(out).generator.complete(images[0], np.eye(6, dtype=bool), 2, label="1")
        assert (np.diagonal(known.values, axis1=1, axis2=2) == np.diag(images[0])).all()
        with pytest.raises(UserError, match=r"the item's shape \(6, 6\); got \(36,\)"):
            pf.load(out).generator.complete(images[0], np.ones(36, dtype=bool))


def test_a_table_of_categories(tmp_path, command, refused):
    rng = np.random.default_rng(0)
    rows = [["colour", "town", "size", "grade"]]
    rows += [[("red", "green", "blue")[i], "here", ("small", "large")[i % 2], i + 3] for i in rng.integers(0, 3, 90)]
    with (tmp_path / "things.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    ways = ("--family", "discrete", "--steps", 60, *SMALL, "--set", "training.learning_rate=0.01")
    out = tmp_path / "run"
    trained = command("train", tmp_path / "things.csv", *ways, "--out", out)
    assert trained.code == 0, trained.err
    assert command("sample", out, "-n", 40, "-o", tmp_path / "more.csv").code == 0
    with (tmp_path / "more.csv").open() as file:
        made = list(csv.reader(file))
    assert made[0] == rows[0]
    assert {row[0] for row in made[1:]} <= {"red", "green", "blue"} and {row[3] for row in made[1:]} <= set("345")
    one = pf.load(out).generator.complete(np.array([2, 0, 1, 4]), np.array([True, False, False, True]), 5).values
    assert (one[:, [0, 3]] == [2, 4]).all() and (one[:, 1] == 0).all()
    (tmp_path / "other.csv").write_text("colour,town,size,grade\n" + "pink,here,small,3\n" * 5)
    assert "'pink'" in refused("likelihood", out, "--data", tmp_path / "other.csv")
    assert command("likelihood", out, "-n", 5, "--json").json["nats"]["mean"] > -3.5
    assert "--family mixed" in refused("train", tmp_path / "things.csv", "--steps", 1)
    (tmp_path / "real.csv").write_text("a,b\n" + "0.5,1\n0.25,2\n" * 20)
    assert "--family diffusion" in refused("train", tmp_path / "real.csv", *ways)
