"""Weights of other libraries: safetensors alone, whole or in parts, checked before anything is built of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.training.checkpoint import mismatch

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_DEPRECATED = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
"""What the attention of early diffusers called its layers."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON, or cut short: take it from its source again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object")
    return value


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a component's folder, on the CPU, in their own types.

    Raises UserError for pickles, with the way to convert them, and for files that are missing, cut short or damaged.
    """
    files = _files(folder)
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            tensors |= parse_tensors(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0][:80]
            raise UserError(f"{path} is cut short or no safetensors file ({said}): take it again") from None
    bad = next((name for name, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())), "")
    if bad:
        raise UserError(f"{folder}: the weight {bad} holds numbers that are not finite: the file is damaged")
    return tensors


def fill(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into a module. Raises UserError where names or shapes differ; then nothing has been copied."""
    expected = module.state_dict()
    given = dict(tensors)
    for name in expected:
        old = name
        for new, before in _DEPRECATED.items():
            old = old.replace(new, before)
        if name not in given and old in given:
            given[name] = given.pop(old)
    difference = mismatch(expected, given)
    if difference:
        raise UserError(f"the weights in {where} do not fit the model that its config.json describes: {difference}")
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(given[name])


def _files(folder: Path) -> list[Path]:
    for stem in _STEMS:
        whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
        if whole.is_file():
            return [whole]
        if index.is_file():
            return _parts(index)
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found
    if found:
        raise UserError(
            f"{folder} holds {', '.join(f.name for f in found)}: leave the one to read, or name it model.safetensors"
        )
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in PICKLES)
    if pickles:
        raise UserError(
            f"{folder / pickles[0]} is a pickle, which can run code when it is read, and is refused: where you "
            "trust it, "
            f'convert it once, python -c "import torch, safetensors.torch as s; s.save_file(torch.load('
            f"'{pickles[0]}', map_location='cpu', weights_only=True), '{_STEMS[0]}.safetensors')\", and delete it"
        )
    raise UserError(f"{folder} holds no weights: {_STEMS[0]}.safetensors was expected")


def _parts(index: Path) -> list[Path]:
    """The files that an index names, each in its own folder."""
    named = read_json(index).get("weight_map")
    names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    if not names:
        raise UserError(f"{index} names no files: take it from its source again")
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{index} names {name!r}, which is no safetensors file beside it: it is refused")
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / name} is missing: take it from its source again")
    return [index.parent / name for name in names]
