"""Folders that are either wholly there and proven by hashes, or not there at all.

A folder is written under a temporary name, every file and the folder itself are synced to the disk, and only then it is
renamed. `manifest.json` holds the size and the BLAKE2b hash of every file, and a hash of itself, so that any truncation
and any flipped bit is found.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pushforward.errors import PushforwardError

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
SCHEMA = 1


class Damaged(PushforwardError):
    """A stored folder that is incomplete or whose contents are not what was written."""


def as_json(value: Any) -> bytes:
    """JSON with sorted keys and no non-finite numbers, as it is stored."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def digest(data: bytes) -> str:
    """BLAKE2b, 32 bytes, as hexadecimal digits."""
    return blake2b(data, digest_size=32).hexdigest()


def sync(handle: int) -> None:
    """Return once what was written to an open file is on the disk."""
    os.fsync(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and return once it is on the disk; the mode follows the umask."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        sync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Return once the names in a folder are on the disk (where folders can be synced: not on Windows)."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file by new contents at once: a reader sees the old or the new, never a part."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    temporary.unlink(missing_ok=True)
    write_file(temporary, data)
    temporary.replace(path)
    sync_folder(path.parent)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    body = {"schema": SCHEMA, "files": {n: {"bytes": len(d), "blake2b": digest(d)} for n, d in files.items()}}
    return as_json({**body, "blake2b": digest(as_json(body))})


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files with its manifest, atomically; on an error nothing of that name is left.

    Raises:
        OSError: the disk is full, read-only, ….
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    discard(temporary)
    try:
        temporary.mkdir()
        for name, data in files.items():
            write_file(temporary / name, data)
        write_file(temporary / MANIFEST, _manifest(files))
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError:
        discard(temporary)
        raise


def discard(path: Path) -> None:
    """Remove a folder, moved to a temporary name first so that a part of it is never taken for the whole."""
    if not path.exists():
        return
    if not path.name.startswith(TEMPORARY):
        target = path.with_name(f"{TEMPORARY}old-{path.name}")
        shutil.rmtree(target, ignore_errors=True)
        path = path.rename(target)
    shutil.rmtree(path, ignore_errors=True)


def discard_temporaries(folder: Path) -> None:
    """Remove what interrupted writes have left."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """The files of a stored folder with their sizes and hashes.

    Raises:
        Damaged: there is no manifest or it is not as it was written.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise Damaged(f"{path} has no readable {MANIFEST} ({error.strerror}): it was not completely written.") from None
    try:
        manifest = json.loads(raw)
        own = manifest.pop("blake2b")
        intact = digest(as_json(manifest)) == own and raw == as_json({**manifest, "blake2b": own})
        schema, files = manifest["schema"], dict(manifest["files"])
        intact = intact and all(type(f["bytes"]) is int and type(f["blake2b"]) is str for f in files.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise Damaged(f"{path / MANIFEST} is damaged: it does not match its own hash.")
    if schema != SCHEMA:
        raise PushforwardError(f"{path} has format {schema}; this version reads format {SCHEMA}: use a newer version.")
    return files


def read_file(path: Path, name: str, files: Mapping[str, dict[str, Any]]) -> bytes:
    """The contents of one file of a stored folder, proven by its hash.

    Raises:
        Damaged: the file is missing, of another size or of other contents than were written.
    """
    if name not in files or Path(name).name != name:
        raise Damaged(f"{path} holds no file {name!r}.")
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise Damaged(f"{path / name} cannot be read ({error.strerror}).") from None
    if len(data) != files[name]["bytes"]:
        raise Damaged(
            f"{path / name} has {len(data)} bytes where {files[name]['bytes']} were written: it is truncated."
        )
    if digest(data) != files[name]["blake2b"]:
        raise Damaged(f"{path / name} does not match the hash of what was written: it is corrupt.")
    return data


def verify(path: Path) -> None:
    """Raise `Damaged` unless every file of a stored folder is as it was written."""
    files = read_manifest(path)
    for name in files:
        read_file(path, name, files)
