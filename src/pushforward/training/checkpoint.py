"""Checkpoints: a folder of `config.json`, `state.json` and `*.safetensors` that anyone can inspect. No pickle is read.

checkpoints/step-00001200/
    config.json                 what the model and its data are, as the caller described them
    state.json                  where the training was: step, total, best, validation history, …
    model.safetensors           the weights
    ema-0.050.safetensors  …    averages of the weights, of several lengths
    optimizer-loss.safetensors  the moments of the optimiser of each objective
    manifest.json               size and hash of every file
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.training import storage
from pushforward.training.state import trouble_in
from pushforward.training.storage import Damaged

CONFIG, STATE = "config.json", "state.json"
SUFFIX = ".safetensors"


def tensors_as_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors bytes; tensors that share memory (tied weights) are each written in full."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        pointer = value.untyped_storage().data_ptr()
        out[name] = value.clone() if pointer in seen else value
        seen.add(pointer)
    return serialise_tensors(out)


def write_checkpoint(
    path: Path, config: Mapping[str, Any], state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write a checkpoint atomically; `tensors` are named groups, one file each.

    Raises:
        OSError: the disk is full, read-only, …; nothing of that name is left.
    """
    files = {CONFIG: storage.as_json(dict(config)), STATE: storage.as_json(dict(state))}
    files |= {f"{group}{SUFFIX}": tensors_as_bytes(values) for group, values in tensors.items()}
    storage.write_folder(path, files)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint: manifest, `config` and `state` have been read and proven, tensors are proven when they are read.

    `skipped` says, one sentence each, what was found broken on the way to it.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Any]
    files: Mapping[str, dict[str, Any]] = field(repr=False)
    skipped: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """How many steps had been taken."""
        return int(self.state["step"])

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups of tensors: `model`, `ema-0.050`, `optimizer-loss`, …"""
        return tuple(sorted(n.removesuffix(SUFFIX) for n in self.files if n.endswith(SUFFIX)))

    @property
    def weights(self) -> tuple[str, ...]:
        """The groups that hold weights of the model: `model` and its averages."""
        return tuple(g for g in self.groups if g == "model" or g.startswith("ema-"))

    @property
    def best_weights(self) -> str:
        """The weights that validated best at this step; without validation the longest average, else `model`."""
        found, averages = self.state.get("best_weights"), [w for w in self.weights if w != "model"]
        if found in self.weights:
            return str(found)
        return max(averages) if averages else "model"

    def shapes(self, group: str) -> dict[str, Tensor]:
        """The tensors of a group without their numbers, on the device "meta". Raises as `tensors` does."""
        path = self.path / (self._known(group) + SUFFIX)
        try:
            with safe_open(path, framework="pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return {name: _hollow(s.get_shape(), s.get_dtype()) for name, s in slices.items()}
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise Damaged(f"{path} is not in the safetensors format ({error}).") from None

    def tensors(self, group: str) -> dict[str, Tensor]:
        """The tensors of a group, on the CPU.

        Raises:
            UserError: there is no such group. Damaged: the file is not what was written.
        """
        data = storage.read_file(self.path, self._known(group) + SUFFIX, self.files)
        try:
            return parse_tensors(data)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # the last three: types torch has not
            raise Damaged(f"{self.path / (group + SUFFIX)} is not in the safetensors format ({error}).") from None

    def _known(self, group: str) -> str:
        if group not in self.groups:
            raise UserError(f"{self.path} holds no {group!r}; it holds {', '.join(self.groups)}.")
        return group


def _hollow(shape: Sequence[int], kind: str) -> Tensor:
    """A tensor of this shape that takes no memory, of floats for the kinds F32, BF16, …, else of integers."""
    floats = kind.startswith(("F", "BF"))
    return torch.empty(tuple(shape), dtype=torch.float32 if floats else torch.int64, device="meta")


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read the manifest, configuration and state of a checkpoint.

    Raises:
        UserError: there is no such folder. Damaged: it is incomplete or corrupt.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a checkpoint: there is no such folder.")
    files = storage.read_manifest(path)
    config, state = (_object(path, name, files) for name in (CONFIG, STATE))
    trouble = trouble_in(state)
    if trouble:
        raise Damaged(f"{path / STATE} cannot be used: {trouble}.")
    return Checkpoint(path, config, state, files)


def _object(path: Path, name: str, files: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    try:
        value = json.loads(storage.read_file(path, name, files))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Damaged(f"{path / name} is not a JSON object.")
    return value


def mismatch(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """The first missing, unknown or misshaped one of named tensors, in words, or None if they are as expected."""
    for name in expected:
        if name not in given:
            return f"{name} is missing"
        if given[name].shape != expected[name].shape:
            return f"{name} has the shape {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        if given[name].is_floating_point() != expected[name].is_floating_point():
            return f"{name} has the type {given[name].dtype} instead of {expected[name].dtype}"
    return next((f"{name} is not part of the model" for name in given if name not in expected), None)


@torch.no_grad()
def load_weights(model: nn.Module, checkpoint: Checkpoint, weights: str | None = None) -> str:
    """Copy a checkpoint's weights into a model (default: those that validated best); returns which they were.

    Raises:
        UserError: names or shapes differ; then nothing has been copied.
    """
    weights = weights or checkpoint.best_weights
    given, own = checkpoint.tensors(weights), model.state_dict()
    difference = mismatch(own, given)
    if difference:
        raise UserError(f"The weights in {checkpoint.path} do not fit this model: {difference}.")
    for name, value in own.items():
        value.copy_(given[name])
    return weights


def initialise_from(model: nn.Module, checkpoint: Checkpoint, weights: str | None = None) -> str:
    """Start a model from the weights of another run (fine-tuning), by default those that validated best.

    Only weights are taken: step, optimiser and averages begin anew. Raises `UserError` where names or shapes differ.
    """
    return load_weights(model, checkpoint, weights)
