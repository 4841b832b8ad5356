"""A run that someone else has made, its hashes as they must be: refused with a sentence before it costs anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pushforward.training import storage


@pytest.fixture
def forged(small_run, tmp_path):
    """`forged(("config", "model", "sigma_data"), 1e308)`: a run with one other entry in its config.json."""

    def call(where: tuple[str, ...], value: object, file: str = "config.json") -> Path:
        original = sorted((small_run / "checkpoints").iterdir())[-1]
        out = tmp_path / "forged"
        shutil.rmtree(out, ignore_errors=True)
        files = {p.name: p.read_bytes() for p in original.iterdir() if p.name != storage.MANIFEST}
        whole = json.loads(files[file])
        section = whole
        for name in where[:-1]:
            section = section[name]
        section[where[-1]] = value
        files[file] = json.dumps(whole).encode()
        storage.write_folder(out / "checkpoints" / original.name, files)
        return out

    return call


NETWORK = ("config", "model", "network")


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ((*NETWORK, "width"), 10**9, "model.network.width is 1000000000"),
        ((*NETWORK, "width"), int("9" * 4000), "model.network.width"),
        ((*NETWORK, "width"), 16384, "do not fit this model"),
        ((*NETWORK, "blocks"), 10**7, "model.network.blocks"),
        ((*NETWORK, "multipliers"), [1] * 10**5, "model.network.multipliers"),
        ((*NETWORK, "multipliers"), [64] * 12, "do not fit this model"),
        ((*NETWORK, "multipliers"), [], "model.network.multipliers"),
        (NETWORK, [1, 2], "model.network"),
        (("config", "model", "path"), {"kind": "ddpm", "levels": 10**12}, "model.path.levels"),
        (("config", "model", "path"), {"kind": "ddpm", "levels": 1}, "model.path.levels"),
        (("config", "model", "path"), {"kind": "edm", "sigma_max": 1e300}, "model.path.sigma_max"),
        (("config", "model", "path"), {"kind": "edm", "sigma_max": 1e-9}, "sigma_min < sigma_max"),
        (("config", "model", "sigma_data"), float("nan"), "finite"),
        (("config", "model", "sigma_data"), float("inf"), "finite"),
        (("config", "model", "sigma_data"), 1e308, "model.sigma_data"),
        (("config",), None, "the configuration is null"),
        (("schema",), True, "was not written by"),
        (("schema",), 99, "later version"),
        (("data",), None, "data in its config.json is wrong"),
        (("data", "messages"), 5, "data.messages"),
        (("data", "sizes"), {"train": "x"}, "data.sizes.train"),
        (("format", "coding", "shape"), [1, 2**29, 2**29], "format.coding.shape"),
        (("format", "coding", "low"), 1e299, "format.coding.high"),
        (("format", "labels", "names"), ["../../x", ".", ".."], "do not fit this model"),
    ],
)
def test_a_configuration_beyond_measure(refused, forged, where, value, expected):
    assert expected in refused("sample", forged(where, value), "-n", 2, "--steps", 2, "--quiet")


def test_deep_nesting(refused, forged, small_run, tmp_path):
    out = forged(("schema",), 1)
    [point] = (out / "checkpoints").iterdir()
    files = {p.name: p.read_bytes() for p in point.iterdir() if p.name != storage.MANIFEST}
    shutil.rmtree(point)
    storage.write_folder(point, {**files, "config.json": b'{"config":' + b"[" * 10**5 + b"]" * 10**5 + b"}"})
    assert "not a JSON object" in refused("info", out)


@pytest.mark.parametrize(
    ("entry", "value"), [("seconds", "a"), ("total", "x"), ("value", "low"), ("step", -5), ("torch", 7)]
)
def test_a_state_beyond_measure(refused, forged, entry, value):
    assert f"state.json cannot be used: {entry}" in refused("info", forged((entry,), value, "state.json"))


def test_names_in_a_manifest_lead_nowhere_else(refused, forged, tmp_path):
    out = forged(("schema",), 1)
    [point] = (out / "checkpoints").iterdir()
    (tmp_path / "secret.safetensors").write_bytes(b"x")
    manifest = json.loads((point / storage.MANIFEST).read_text())
    del manifest["blake2b"]
    manifest["files"]["../../../secret.safetensors"] = {"bytes": 1, "blake2b": storage.digest(b"x")}
    whole = {**manifest, "blake2b": storage.digest(storage.as_json(manifest))}
    (point / storage.MANIFEST).write_bytes(storage.as_json(whole))
    assert "holds no file '../../../secret.safetensors'" in refused("info", out)


def test_what_a_terminal_would_obey_is_not_printed(command, forged):
    said = command("info", forged(("data", "messages"), ["\x1b[2J\x07 gone"]))
    assert said.code == 0 and "\x1b" not in said.out and "\x07" not in said.out and "gone" in said.out


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")]
)
def test_too_little_memory_is_said(command, monkeypatch, error):
    from pushforward.cli import main as module

    def failing():
        def call(tokens):
            raise error

        return call

    monkeypatch.setattr(module, "app", failing)
    said = command("x")
    assert said.code == 1 and said.err.startswith("error: there is not enough memory") and "batch" in said.err


def test_a_broken_checkpoint_is_said_wherever_a_run_is_read(command, small_run, tmp_path):
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    newest = sorted((run / "checkpoints").iterdir())[-1]
    (newest / "model.safetensors").write_bytes(b"")
    for argv in (["info", run], ["sample", run, "-n", 2, "--steps", 2]):
        said = command(*argv)
        assert said.code == 0 and f"skipped a broken checkpoint: {newest}" in said.err and "truncated" in said.err


def test_what_is_made_of_one_checkpoint_is_written_beside_it_not_into_it(command, small_run, tmp_path):
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    point = sorted((run / "checkpoints").iterdir())[-1]
    before = sorted(point.iterdir())
    assert command("sample", point, "-n", 2, "--steps", 2).code == 0
    assert sorted(point.iterdir()) == before and (run / "samples.png").exists()
