"""What decoding needs of a generative model: a denoiser of latents, and the way from pictures to latents and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.operators.units import Affine
from pushforward.models.denoising import DiffusionGenerator, as_denoising
from pushforward.models.generator import Generator


class FirstStage(Protocol):
    """Any object that takes items to latents and back: an autoencoder, components, nothing at all."""

    def encode(self, x: Tensor, /) -> Tensor:
        """(B, *shape) -> (B, *latent)."""
        ...

    def decode(self, z: Tensor, /) -> Tensor:
        """(B, *latent) -> (B, *shape)."""
        ...


class Whole:
    """No first stage: the latent is the item itself."""

    def encode(self, x: Tensor, /) -> Tensor:
        return x

    def decode(self, z: Tensor, /) -> Tensor:
        return z


@dataclass(frozen=True, eq=False)
class Prior:
    """A trained model with the form of its data; `stage` leads to the space in which its denoiser works."""

    generator: DiffusionGenerator
    stage: FirstStage

    @staticmethod
    def of(generator: Generator, stage: FirstStage | None = None) -> Prior:
        """Of a denoiser of items, with a first stage if one is given, or of a model of latents with its own.

        Raises UserError for models that are no denoisers.
        """
        inner = getattr(generator, "inner", None)  # a model of latents holds the denoiser that it draws them with
        whole: Any = generator.model
        whole.eval()
        latent = isinstance(inner, DiffusionGenerator)
        found = inner if isinstance(inner, DiffusionGenerator) else as_denoising(generator, "decoding brain activity")
        if found.conditions:
            raise UserError("what the prior is told is decoded from the voxels: leave `given` out")
        prior = Prior(found, stage or (whole if latent else Whole()))
        if stage is not None:
            prior.check_stage()
        return prior

    @torch.no_grad()
    def check_stage(self) -> None:
        """Raise UserError where the first stage does not lead to the space of the denoiser and back."""
        name, blank = type(self.stage).__name__, torch.zeros(1, *self.form.shape, device=self.device)
        latent, wanted = tuple(self.stage.encode(blank).shape[1:]), tuple(self.generator.model.shape)
        if latent != wanted:
            raise UserError(f"the first stage {name} gives latents of shape {latent}, and the prior is of {wanted}")
        back = tuple(self.stage.decode(torch.zeros(1, *wanted, device=self.device)).shape[1:])
        if back != self.form.shape:
            raise UserError(f"the first stage {name} gives items of shape {back}, and the data's are {self.form.shape}")

    @property
    def form(self) -> Format:
        return self.generator.format

    @property
    def device(self) -> torch.device:
        return self.generator.model.device

    @property
    def classes(self) -> int:
        """How many classes it can be told, 0 for none."""
        return self.generator.model.num_classes

    @property
    def told(self) -> tuple[str, ...]:
        """The conditions beside the class that it can be told."""
        return self.generator.tells

    def check_told(self, name: str, values: np.ndarray) -> None:
        """Whether trials (n, …) of a condition are what the prior is told. Raises UserError where they are not."""
        if name not in self.told:
            known = ", ".join(self.told) or "none beside the class"
            raise UserError(f"the trials have the condition {name!r}, and the prior was trained with: {known}")
        shape = self.generator.model.shape
        one = {name: torch.as_tensor(values[:1], dtype=torch.float32, device=self.device)}
        try:
            with torch.no_grad():
                denoiser = self.generator.conditioned(None, 1.0, one)
                denoiser(torch.zeros(1, *shape, device=self.device), denoiser.path.t_max)
        except (UserError, RuntimeError) as error:
            raise UserError(
                f"the prior cannot be told {name} of shape {values.shape[1:]} ({str(error).splitlines()[0][:120]})"
            ) from None

    @torch.no_grad()
    def latents(self, items: np.ndarray, at_once: int = 256) -> Tensor:
        """Items (n, *item_shape) in the user's form -> latents, on the CPU."""
        x = self.form.encode(items)
        return torch.cat([self.stage.encode(part.to(self.device)).cpu() for part in x.split(at_once)])

    @torch.no_grad()
    def values(self, latents: Tensor, at_once: int = 256) -> np.ndarray:
        """Latents -> float64 (n, *shape) in the user's units, neither rounded nor clipped."""
        parts = [self.stage.decode(part.to(self.device)).cpu().double() for part in latents.split(at_once)]
        return Affine.of(self.form)(torch.cat(parts)).numpy()

    def truth(self, items: np.ndarray) -> np.ndarray:
        """The user's own items as `values` gives them: (n, *shape)."""
        return Affine.of(self.form)(self.form.encode(items).double()).numpy()

    def given(
        self,
        labels: Tensor | None,
        guidance: float,
        told: Mapping[str, Tensor] | None = None,
        items: int | None = None,
    ) -> Denoiser:
        """The denoiser of so many items, told of classes (B,) and of conditions (B, …) where there are some."""
        return self.generator.conditioned(labels, guidance, told or {}, items=items)


def check_stimuli(stimuli: np.ndarray, form: Format, what: str) -> np.ndarray:
    """Stimuli in the prior's own form: (n, *item_shape), in its range. Raises UserError where they are of another."""
    if stimuli.shape[1:] != form.item_shape:
        flat = int(np.prod(form.item_shape))
        if stimuli.ndim != 2 or stimuli.shape[1] != flat:
            raise UserError(
                f"{what} have the shape {stimuli.shape[1:]}, and the prior was trained on {form.item_shape}: resize "
                "them, or train a prior on pictures of their shape"
            )
        stimuli = stimuli.reshape(len(stimuli), *form.item_shape)
    if stimuli.dtype.kind not in "biuf" or not np.isfinite(stimuli).all():
        raise UserError(f"{what} must be finite numbers; got {stimuli.dtype}")
    if isinstance(form.scale, float | int) and isinstance(form.offset, float | int):
        low, high = form.offset - form.scale, form.offset + form.scale
        least, most = float(stimuli.min()), float(stimuli.max())
        slack = (1e-6 if getattr(form.coding, "clip", False) else 1.0) * (high - low)  # else the range is that seen
        if least < low - slack or most > high + slack or (most - least) < 0.05 * (high - low):
            raise UserError(
                f"{what} lie in {least:g} … {most:g}, and the prior's pictures in {low:g} … {high:g}: bring them to "
                "the same units first"
            )
    return stimuli
