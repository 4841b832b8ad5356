"""Networks and autoencoders of diffusers: built from their config.json, filled from safetensors, called our way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.data.extras import brief, optional_package
from pushforward.denoisers.precondition import Prediction
from pushforward.errors import UserError
from pushforward.interop.weights import fill, read_json, read_weights
from pushforward.numerics.broadcast import expand
from pushforward.paths.gaussian import GaussianPath

NETWORKS = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel", "Transformer2DModel")
AUTOENCODERS = ("AutoencoderKL", "VQModel", "AutoencoderTiny")


def read_module(folder: Path, allowed: tuple[str, ...]) -> nn.Module:
    """A module of diffusers from a folder with config.json and safetensors, in evaluation mode, float32.

    Only the classes named are built, by name out of diffusers itself: a configuration cannot name code. Raises
    UserError for what is missing, damaged or of another kind; then nothing is built.
    """
    config = read_json(folder / "config.json")
    name = str(config.get("_class_name", ""))
    if name == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
        name = "DiTTransformer2DModel"  # what published DiT folders still call it
    if name not in allowed:
        raise UserError(f"{folder} holds a {name or 'model without a name'}; known here are {', '.join(allowed)}")
    tensors = read_weights(folder)
    diffusers = optional_package("diffusers", f"folders of diffusers ({folder})", "diffusers")
    return _built(getattr(diffusers, name), config, tensors, folder)


def _built(kind: Any, config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> nn.Module:
    _check_size(kind, config, tensors, folder)
    try:
        with torch.random.fork_rng(devices=[]):
            module: nn.Module = kind.from_config(config)
    except Exception as error:  # its own checks of a configuration have many types
        raise UserError(f"{folder / 'config.json'} describes no {kind.__name__}: {brief(error)}") from None
    fill(module, tensors, folder)
    return module.float().eval().requires_grad_(False)


def _check_size(kind: Any, config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse a configuration of another size than the weights before memory is taken for it, where that can be told."""
    try:
        with torch.device("meta"):
            hollow = kind.from_config(config)
    except Exception:  # some networks cannot be made without numbers; what is wrong shows when they are made with them
        return
    expected, given = (sum(t.numel() for t in held.values()) for held in (hollow.state_dict(), tensors))
    if not 0.5 * expected <= given <= 2 * expected:
        raise UserError(f"{folder} holds {given:,} numbers, and its config.json describes a model of {expected:,}")


class DiffusersNetwork(nn.Module):
    """A network of diffusers as ours are called: net(x, time, label=…, context=…), time what its schedule says.

    `label` (B,) are classes, `context` (B, tokens, width) what it attends to; `text_embeds` and `time_ids` are those of
    the larger text models; `image` (B, c, H, W) are the further channels of one that takes more than it gives, as for
    inpainting and super-resolution. Half the channels of an output twice as wide are a learned variance, and left out.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.config: Mapping[str, Any] = dict(module.config)  # type: ignore[arg-type]
        self.kind = type(module).__name__
        if self.kind not in NETWORKS:
            raise UserError(f"{self.kind} is no network that is known here: {', '.join(NETWORKS)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what it denoises. Raises UserError where its configuration does not say."""
        size = self.config.get("sample_size")
        if size is None:
            raise UserError(f"the configuration of this {self.kind} has no sample_size: say the shape of its items")
        height, width = (size, size) if isinstance(size, int) else size
        return self.channels, int(height), int(width)

    @property
    def channels(self) -> int:
        """Of what it denoises."""
        taken, given = int(self.config["in_channels"]), int(self.config.get("out_channels") or 0)
        return given if 0 < given < taken else taken

    @property
    def num_classes(self) -> int:
        """How many classes it knows, 0 for none; class `num_classes` is "no class" where it was trained with one."""
        transformer = self.kind.endswith("Transformer2DModel")
        known = self.config.get("num_embeds_ada_norm") if transformer else self.config.get("num_class_embeds")
        return int(known or 0)

    @property
    def accepts(self) -> tuple[str, ...]:
        """The conditions that it takes."""
        names = ("label",) if self.num_classes or self.config.get("class_embed_type") else ()
        if self.channels < int(self.config["in_channels"]):
            names = (*names, "image")
        if self.config.get("cross_attention_dim") and self.kind in ("UNet2DConditionModel", "Transformer2DModel"):
            names = (*names, "context")
        return (*names, "text_embeds", "time_ids") if self.config.get("addition_embed_type") == "text_time" else names

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        context: Tensor | None = None,
        text_embeds: Tensor | None = None,
        time_ids: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        channels, x = x.shape[1], self._with(x, image)
        given: dict[str, Any] = {} if label is None else {"class_labels": label}
        if self.kind == "UNet2DConditionModel":
            given["encoder_hidden_states"] = context
            if text_embeds is not None:
                given["added_cond_kwargs"] = {"text_embeds": text_embeds, "time_ids": time_ids}
        elif self.kind == "Transformer2DModel":
            given["encoder_hidden_states"] = context
        if self.kind.endswith("Transformer2DModel"):
            out = self.module(x, timestep=time, return_dict=False, **given)[0]
        else:
            out = self.module(x, time, return_dict=False, **given)[0]
        return out[:, :channels] if out.shape[1] == 2 * channels else out

    def _with(self, x: Tensor, image: Tensor | None) -> Tensor:
        wanted = int(self.config["in_channels"]) - self.channels
        if not wanted:
            return x
        if image is None or image.shape[1:] != (wanted, *x.shape[2:]):
            said = "none was given" if image is None else f"{tuple(image.shape[1:])} was given"
            raise UserError(
                f"this {self.kind} is told an image of {wanted} channels beside what it denoises, and {said}: bind it, "
                f"given(image=…), of shape {(wanted, *x.shape[2:])}"
            )
        return torch.cat((x, image.to(x)), 1)


class TableNetwork(nn.Module):
    """A network of diffusers to be trained here, as `pf.fit(data, out, network=…)` calls it, on a table of β.

    Our engine gives a network c_in x_t and ¼ log(σ/α); this takes both back to what diffusers gives, x_t and the index
    of the level, so that what was trained runs there (`write_pipeline`).
    """

    def __init__(self, module: nn.Module, path: GaussianPath, prediction: Prediction, levels: int = 1000) -> None:
        super().__init__()
        self.inner = DiffusersNetwork(module)
        self.path, self.prediction, self.levels = path, prediction, levels

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        level = self.path.level(self.path.time(-4 * time.double()))
        scale = expand(self.prediction.input_scale(level), x)
        index = (torch.as_tensor(level.t) * self.levels - 1).to(x.dtype)
        return self.inner(x / scale, index, label)


class Autoencoder(nn.Module):
    """An autoencoder of diffusers as a first stage: z = (E(x) − shift)·scale, in the units of its latent model.

    x are pictures in [−1, 1]. Of a random encoder the mean is taken; a VQ model quantises in `decode`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        config: Mapping[str, Any] = dict(module.config)  # type: ignore[arg-type]
        self.channels = int(config.get("vq_embed_dim") or config.get("latent_channels") or 0)
        """Of a latent; 0 where the configuration does not say."""
        self.scale = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, c, h, w)."""
        found = self.module.encode(x)  # type: ignore[operator]
        law = getattr(found, "latent_dist", None)
        z = found.latents if law is None else law.mean
        return (z - self.shift) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, C, H, W), differentiable."""
        return self.module.decode(z / self.scale + self.shift).sample  # type: ignore[operator]
