"""Foreign weights: what is damaged, incomplete or could run code is refused in a sentence, nothing is half loaded."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pushforward.errors import UserError
from pushforward.interop import read_pipeline
from pushforward.interop.weights import fill, read_weights

NAME = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, tmp_path / NAME)
    return tmp_path


def test_whole_and_in_parts_are_the_same(folder, tmp_path):
    whole = read_weights(folder)
    parts = tmp_path / "parts"
    parts.mkdir()
    save_file({"weight": torch.ones(2, 3)}, parts / "a.safetensors")
    save_file({"bias": torch.zeros(2)}, parts / "b.safetensors")
    index = {"weight_map": {"weight": "a.safetensors", "bias": "b.safetensors"}}
    (parts / f"{NAME}.index.json").write_text(json.dumps(index))
    again = read_weights(parts)
    assert {k: v.tolist() for k, v in again.items()} == {k: v.tolist() for k, v in whole.items()}
    (parts / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"b\.safetensors is missing"):
        read_weights(parts)
    index["weight_map"]["bias"] = "../b.safetensors"
    (parts / f"{NAME}.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no safetensors file beside it"):
        read_weights(parts)


def cut(data):
    return data[:-5]


def header_too_long(data):
    return struct.pack("<Q", 1 << 40) + data[8:]


def other_shape(data):
    return data.replace(b"[2,3]", b"[2,9]")


def emptied(data):
    return b""


@pytest.mark.parametrize("damage", [cut, header_too_long, other_shape, emptied])
def test_damage_is_one_sentence(folder, damage):
    path = folder / NAME
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="cut short or no safetensors file"):
        read_weights(folder)


def test_numbers_that_are_not_finite_are_damage(folder):
    save_file({"weight": torch.tensor([1.0, torch.nan])}, folder / NAME)
    with pytest.raises(UserError, match="weight holds numbers that are not finite"):
        read_weights(folder)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "weights.pt"])
def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(UserError, match=r"is a pickle, which can run code .* weights_only=True") as told:
        read_weights(tmp_path)
    assert "save_file" in str(told.value)
    assert not (tmp_path / "hacked").exists()


def test_a_module_is_filled_wholly_or_not_at_all(folder):
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    for wrong, words in (
        ({"weight": torch.ones(2, 3)}, "bias is missing"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(3)}, "bias has the shape"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)}, "more is not part"),
    ):
        with pytest.raises(UserError, match=words):
            fill(layer, wrong, folder)
        torch.testing.assert_close(layer.weight, before)
    fill(layer, read_weights(folder), folder)
    torch.testing.assert_close(layer.weight, torch.ones(2, 3))


def test_early_names_of_attention_are_known(tmp_path):
    attention = nn.ModuleDict({"to_q": nn.Linear(2, 2), "to_out": nn.ModuleList([nn.Linear(2, 2)])})
    outer = nn.ModuleDict({"mid": attention})
    old = {"mid.query.weight": torch.ones(2, 2), "mid.query.bias": torch.ones(2)}
    old |= {"mid.proj_attn.weight": torch.zeros(2, 2), "mid.proj_attn.bias": torch.ones(2)}
    fill(outer, old, tmp_path)
    torch.testing.assert_close(attention["to_q"].weight, torch.ones(2, 2))


def pipeline(folder, **index):
    (folder / "scheduler").mkdir(parents=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDIMScheduler"}))
    (folder / "model_index.json").write_text(json.dumps(index))


def test_a_folder_is_read_wholly_or_not_at_all(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*owner/name"):
        read_pipeline(tmp_path / "none")
    with pytest.raises(UserError, match="owner/none could not be had from the Hub"):
        read_pipeline("owner/none")  # the tests are offline
    with pytest.raises(UserError, match=r"model_index\.json cannot be read"):
        read_pipeline(tmp_path)
    folder = tmp_path / "pipe"
    pipeline(folder, scheduler=["diffusers", "DDIMScheduler"], text_encoder=["transformers", "CLIP"])
    with pytest.raises(UserError, match="has no unet or transformer or prior; it holds scheduler, text_encoder"):
        read_pipeline(folder)
    (folder / "model_index.json").write_text(json.dumps({"unet": ["os", "system"]}))
    (folder / "unet").mkdir()
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "system"}))
    with pytest.raises(UserError, match="holds a system; known here are UNet2DModel"):
        read_pipeline(folder)
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON, or cut short"):
        read_pipeline(folder)
