"""Small data of every kind, a small run, and the command line called in this process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pushforward.cli.main import main

SMALL = ("--set", "model.network.width=8", "--set", "training.batch_size=8", "--steps", "3", "--device", "cpu")
"""Options that make a training take a second."""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(capsys) -> Callable[..., Said]:
    """`command("info", run)` runs one command line in this process."""

    def call(*argv: object) -> Said:
        capsys.readouterr()
        code = main([str(part) for part in argv])
        written = capsys.readouterr()
        return Said(code, written.out, written.err)

    return call


@pytest.fixture
def refused(command) -> Callable[..., str]:
    """`refused("info", "nowhere")`: the one sentence with which a command line is refused as the user's mistake."""

    def call(*argv: object, code: int = 2) -> str:
        said = command(*argv)
        assert said.code == code, said
        assert said.out == ""
        [line] = said.err.splitlines()
        assert line.startswith("error: ") and "Traceback" not in line and "unexpected" not in line
        return line

    return call


def picture(index: int, side: int = 8) -> np.ndarray:
    """A small grey image that depends on its number."""
    rows, columns = np.mgrid[:side, :side]
    return ((rows * (index + 1) + columns * 7 + 31 * index) % 256).astype(np.uint8)


def write_folder(root: Path, each: int = 12) -> Path:
    """PNG files in the sub-folders `cat` and `dog`."""
    for kind in ("cat", "dog"):
        (root / kind).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(picture(i + 40 * (kind == "dog"))).save(root / kind / f"{i}.png")
    return root


def write_csv(path: Path, rows: int = 40) -> Path:
    """A table with a whole column, a real column, a constant one and a class."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "height", "unit", "kind"])
        writer.writerows([20 + i % 7, f"{1.5 + 0.01 * i:.2f}", 1, "ab"[i % 2]] for i in range(rows))
    return path


def write_npz(path: Path, items: int = 30) -> Path:
    """Colour images with numbered classes."""
    values = np.stack([np.stack([picture(i), picture(i + 1), picture(i + 2)], axis=-1) for i in range(items)])
    np.savez(path, x=values, y=np.arange(items) % 3)
    return path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """A finished run on a folder of images; tests must not change it."""
    root = tmp_path_factory.mktemp("small")
    write_folder(root / "pets")
    out = root / "run"
    assert main(["train", str(root / "pets"), "--out", str(out), "--quiet", "--json", *SMALL]) == 0
    return out
