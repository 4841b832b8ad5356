"""Stored folders: atomic, and proven by hashes against every truncation and every flipped bit."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import PushforwardError, UserError
from pushforward.training import fit, storage
from pushforward.training.checkpoint import read_checkpoint, tensors_as_bytes, write_checkpoint
from pushforward.training.storage import Damaged

FILES = {"a.bin": bytes(range(256)) * 3, "b.json": b'{"x": 1}', "empty": b""}


def everything(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.fixture
def stored(tmp_path):
    storage.write_folder(tmp_path / "one", FILES)
    return tmp_path / "one"


def test_what_is_written_is_read(stored):
    storage.verify(stored)
    manifest = storage.read_manifest(stored)
    assert {name: storage.read_file(stored, name, manifest) for name in FILES} == FILES
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((stored / "a.bin").stat().st_mode) == 0o666 & ~mask
    assert [p.name for p in stored.parent.iterdir()] == ["one"]


def test_every_truncation_and_every_flipped_bit_is_found(stored):
    whole = everything(stored)
    for name, data in whole.items():
        path = stored / name
        for position in range(len(data)):
            for changed in (
                data[:position],
                data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :],
            ):
                path.write_bytes(changed)
                with pytest.raises(Damaged):
                    storage.verify(stored)
        path.write_bytes(data + b"\0")
        with pytest.raises(Damaged):
            storage.verify(stored)
        path.unlink()
        with pytest.raises(Damaged):
            storage.verify(stored)
        path.write_bytes(data)
    storage.verify(stored)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_manifest_are_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    (folder / storage.MANIFEST).write_bytes(data)
    with pytest.raises(Damaged):
        storage.verify(folder)


def test_names_cannot_lead_outside(stored):
    outside = stored.parent / "secret"
    outside.write_bytes(b"x")
    with pytest.raises(Damaged, match="holds no file"):
        storage.read_file(stored, "../secret", {"../secret": {"bytes": 1, "blake2b": storage.digest(b"x")}})


def test_a_newer_format_is_named(stored, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA", 2)
    with pytest.raises(PushforwardError, match="format 1"):
        storage.verify(stored)


@pytest.mark.parametrize("fail_at", range(7))
def test_a_disk_that_fills_at_any_write_leaves_nothing(tmp_path, monkeypatch, fail_at):
    storage.write_folder(tmp_path / "old", FILES)
    before, real, calls = everything(tmp_path / "old"), os.write, []

    def write(handle, data):
        calls.append(len(data))
        if len(calls) == fail_at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:400])  # short writes are legal and have to be continued

    monkeypatch.setattr(os, "write", write)
    if fail_at < 5:  # a.bin and the manifest take two writes each, b.json one
        with pytest.raises(OSError, match="No space"):
            storage.write_folder(tmp_path / "new", FILES)
        assert [p.name for p in tmp_path.iterdir()] == ["old"]
    else:
        storage.write_folder(tmp_path / "new", FILES)
        storage.verify(tmp_path / "new")
    assert everything(tmp_path / "old") == before


def test_files_and_folders_are_synced_before_the_rename(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(storage, "sync", lambda handle: order.append("sync"))
    rename = type(tmp_path).rename
    monkeypatch.setattr(type(tmp_path), "rename", lambda self, to: (order.append("rename"), rename(self, to))[1])
    storage.write_folder(tmp_path / "one", FILES)
    assert order == ["sync"] * (len(FILES) + 2) + ["rename", "sync"]


def test_a_limit_of_the_operating_system_on_file_sizes(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from pushforward.training import fit, storage
folder = Path(sys.argv[1])
storage.write_folder(folder / "small", {"a": b"x" * 10})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    storage.write_folder(folder / "large", {"a": b"x" * 5000})
except OSError as error:
    print("refused:", error.strerror)
storage.verify(folder / "small")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "refused: File too large\n"
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_leftovers_are_removed(tmp_path):
    (tmp_path / ".tmp-step-1").mkdir()
    (tmp_path / ".tmp-step-1" / "x").write_bytes(b"x")
    (tmp_path / ".tmp-file").write_bytes(b"x")
    (tmp_path / "kept").write_bytes(b"x")
    storage.discard_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    storage.replace_file(tmp_path / "kept", b"new")
    assert (tmp_path / "kept").read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1


def test_checkpoints_hold_tied_and_strided_tensors(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    groups = {"model": {"a": shared, "b": shared, "c": shared.T, "n": torch.tensor(3)}, "ema-0.100": {}}
    write_checkpoint(tmp_path / "c", {"k": [1]}, {"step": 4}, groups)
    found = read_checkpoint(tmp_path / "c")
    assert found.config == {"k": [1]} and found.step == 4 and found.groups == ("ema-0.100", "model")
    tensors = found.tensors("model")
    assert torch.equal(tensors["b"], shared) and torch.equal(tensors["c"], shared.T) and int(tensors["n"]) == 3
    with pytest.raises(UserError, match="holds no 'adam'"):
        found.tensors("adam")


def test_what_is_no_checkpoint_is_said_so(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_checkpoint(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Damaged, match="not completely written"):
        read_checkpoint(tmp_path / "empty")
    for number, files in enumerate(
        (
            {"config.json": b"{}", "state.json": b"[]"},
            {"config.json": b"{}", "state.json": b"{}"},
            {"config.json": b"\xff", "state.json": b'{"step": 1}'},
            {"state.json": b'{"step": 1}'},
        )
    ):
        storage.write_folder(tmp_path / str(number), files)
        with pytest.raises(Damaged):
            read_checkpoint(tmp_path / str(number))


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    files = {"config.json": b"{}", "state.json": b'{"step": 1}', "model.safetensors": b"\x80\x04K\x01."}
    storage.write_folder(tmp_path / "x", files)
    with pytest.raises(Damaged, match="safetensors format"):
        read_checkpoint(tmp_path / "x").tensors("model")
    assert len(tensors_as_bytes({})) > 0


HEADERS = st.dictionaries(
    st.sampled_from(["a", "__metadata__"]),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BOOL", "F8_E8M0", "F4", "U16", "X"]),
            "shape": st.lists(st.integers(-1, 3), max_size=3),
            "data_offsets": st.lists(st.integers(-1, 9), min_size=2, max_size=2),
        }
    ),
)


@given(header=HEADERS, body=st.binary(max_size=12), raw=st.binary(max_size=40))
def test_any_tensor_file_is_read_or_refused(tmp_path_factory, header, body, raw):
    """Even where the hashes fit: what someone else has made is parsed as data and refused with a sentence."""
    text = json.dumps(header).encode()
    for data in (raw, len(text).to_bytes(8, "little") + text + body):
        path = tmp_path_factory.mktemp("any") / "c"
        storage.write_folder(path, {"config.json": b"{}", "state.json": b'{"step": 1}', "model.safetensors": data})
        try:
            tensors = read_checkpoint(path).tensors("model")
        except Damaged:
            continue
        assert all(isinstance(t, torch.Tensor) for t in tensors.values())


def test_a_checkpoint_that_cannot_be_continued_says_why(tmp_path):
    from small import Points, Small, recipe

    write_checkpoint(tmp_path / "checkpoints" / "step-00000001", {}, {"step": 1, "recipe": {}}, {"model": {}})
    with pytest.raises(UserError, match="does not say best, history, identity"):
        fit(Small(), Points(5), None, recipe(), tmp_path, {})


STATE = {
    "schema": 1,
    "step": 3,
    "total": 9,
    "seconds": 1.5,
    "value": 0.5,
    "best_weights": "model",
    "torch": "2",
    "best": {"step": 3, "value": 0.5, "weights": "model"},
    "history": [{"step": 3, "losses": {"model": None}}],
    "pending": {"count": 1, "sums": [[1.0, 2.0]]},
    "recipe": {"seed": 0},
    "identity": {"a": [1]},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("step", bad) for bad in (True, -1, "3", 1.5, None, 10**400)),
        *(("total", bad) for bad in (0, "9", None)),
        *(("seconds", bad) for bad in ("a", -1, None)),
        *(("value", bad) for bad in ("low", [1])),
        *(("best", bad) for bad in ({"step": 3}, 7, {"step": 3, "value": "x", "weights": "model"})),
        *(("history", bad) for bad in (7, [7], [{"step": 3}], [{"step": 3, "losses": {"model": "x"}}])),
        *(("pending", bad) for bad in ([], {"count": "a", "sums": []}, {"count": 1, "sums": [[1]]})),
        *(("recipe", bad) for bad in (None, [])),
        ("identity", 3),
        ("torch", 2),
        ("best_weights", None),
    ],
)
def test_a_state_that_no_training_writes_is_refused_with_the_entry_named(tmp_path, name, value):
    """With hashes that fit: someone else has made it."""
    write_checkpoint(tmp_path / "good", {}, STATE, {})
    assert read_checkpoint(tmp_path / "good").state == STATE
    write_checkpoint(tmp_path / "bad", {}, {**STATE, name: value}, {})
    with pytest.raises(Damaged, match=rf"state\.json cannot be used: {name}"):
        read_checkpoint(tmp_path / "bad")


@pytest.mark.parametrize("entry", [5, None, {}, {"bytes": "1", "blake2b": "x"}, {"bytes": 1, "blake2b": None}, [1]])
def test_a_manifest_whose_entries_are_not_sizes_and_hashes_is_refused(stored, entry):
    body = {"schema": storage.SCHEMA, "files": {"a.bin": entry}}
    whole = {**body, "blake2b": storage.digest(storage.as_json(body))}
    (stored / storage.MANIFEST).write_bytes(storage.as_json(whole))
    with pytest.raises(Damaged, match="damaged"):
        storage.verify(stored)
