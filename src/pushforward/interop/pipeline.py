"""A folder of diffusers, or one on the Hub, as a Denoiser and a first stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.data.extras import brief, optional_package
from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.guidance import guided
from pushforward.denoisers.wrappers import clipped
from pushforward.errors import UserError
from pushforward.interop.modules import AUTOENCODERS, NETWORKS, Autoencoder, DiffusersNetwork, read_module
from pushforward.interop.published import published_sampler
from pushforward.interop.schedule import Schedule, read_schedule
from pushforward.interop.weights import read_json
from pushforward.numerics.random import Draws
from pushforward.samplers.default import USUAL_EVALUATIONS, Sampling, default_sampler

_NETWORK_PARTS = ("unet", "transformer", "prior")
_STAGE_PARTS = ("vae", "vqvae", "vqgan")


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What was read: the network, what its scheduler says of it, and the autoencoder where there is one."""

    network: DiffusersNetwork
    schedule: Schedule
    first_stage: Autoencoder | None = None

    def to(self, device: torch.device | str) -> Pipeline:
        """Its network and autoencoder moved there."""
        self.network.to(device)
        if self.first_stage is not None:
            self.first_stage.to(device)
        return self

    @property
    def denoiser(self) -> NetworkDenoiser:
        """Of pictures in [−1, 1], or of latents: every sampler and every inverse solver takes it.

        Conditions are bound by `given(label=…)` and `given(context=…)`, whatever the network takes.
        """
        s = self.schedule
        return NetworkDenoiser(s.path, self.network, s.prediction, s.time, self.network.accepts)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = USUAL_EVALUATIONS,
        seed: int = 0,
        sampler: Sampling | None = None,
        conditions: Mapping[str, Tensor] | None = None,
        nothing: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
        start: Tensor | None = None,
    ) -> Tensor:
        """n pictures in [−1, 1], (n, C, H, W).

        Args:
            steps: evaluations of the network; sampler: ours by default, or `published()`, DDIM as diffusers runs it.
            conditions: one row per sample; nothing: the same for "no condition", which guidance needs.
            start: the noise to begin with (n, …), in place of that of the seed.
        """
        draws, s = Draws.of(seed, range(n), device=self._device), self.schedule
        if start is None:
            start = s.path.prior(draws.at("prior").normal(self.network.shape))
        found = self.conditioned(conditions, nothing, guidance)
        if sampler is None:
            sampler = default_sampler(s.path, steps, s.prediction.sigma_data)
            found = found if s.clip is None else clipped(found, -s.clip, s.clip)
        x = sampler.sample(found, start, steps, draws)
        return x if self.first_stage is None else self.first_stage.decode(x)

    def conditioned(
        self,
        conditions: Mapping[str, Tensor] | None,
        nothing: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
    ) -> Denoiser:
        """The denoiser told of conditions, with classifier-free guidance where its weight is not 1."""
        bound = self.denoiser.given(**dict(conditions)) if conditions else self.denoiser
        if guidance == 1.0:
            return bound
        if not conditions or nothing is None:
            raise UserError("guidance needs conditions, and what stands for none of them (nothing=…)")
        return guided(bound, self.denoiser.given(**dict(nothing)), guidance)

    def published(self) -> Sampling:
        """DDIM with diffusers' own time steps and clipping, for models on a table of β."""
        return published_sampler(self.schedule)


def read_pipeline(source: str | Path, *, revision: str | None = None) -> Pipeline:
    """A pipeline's folder, or its name on the Hub: network, scheduler, autoencoder; other components are not read.

    Nothing is unpickled and no code of the folder is run. Raises UserError for what is missing, damaged or unknown.
    """
    folder = found_folder(source, revision)
    index = read_json(folder / "model_index.json")
    schedule = read_schedule(read_json(folder / "scheduler" / "scheduler_config.json"))
    network = DiffusersNetwork(read_module(_part(folder, index, _NETWORK_PARTS), NETWORKS))
    stage = next((name for name in _STAGE_PARTS if _named(index.get(name))), None)
    first_stage = None if stage is None else Autoencoder(read_module(folder / stage, AUTOENCODERS))
    if first_stage is not None and first_stage.channels not in (0, network.channels):
        raise UserError(
            f"the autoencoder of {folder} has latents of {first_stage.channels} channels, and its {network.kind} "
            f"denoises {network.channels}: they are not of one model"
        )
    return Pipeline(network, schedule, first_stage)


def read_network(
    folder: str | Path, schedule: Schedule | Mapping[str, Any], *, revision: str | None = None
) -> Pipeline:
    """One network's folder, with the schedule that it was trained on (or a scheduler's configuration)."""
    network = DiffusersNetwork(read_module(found_folder(folder, revision), NETWORKS))
    return Pipeline(network, schedule if isinstance(schedule, Schedule) else read_schedule(schedule))


def read_autoencoder(folder: str | Path, *, revision: str | None = None) -> Autoencoder:
    """One autoencoder's folder as a first stage."""
    return Autoencoder(read_module(found_folder(folder, revision), AUTOENCODERS))


def found_folder(source: str | Path, revision: str | None = None) -> Path:
    """The folder itself, or that of a Hub name (owner/name), fetched without anything that could be code."""
    if Path(source).is_dir():
        return Path(source)
    name = str(source)
    if name.count("/") != 1 or any(part in ("", ".", "..") for part in name.split("/")) or Path(source).exists():
        raise UserError(f"there is no folder {source}; a name on the Hub is owner/name")
    hub = optional_package("huggingface_hub", "models on the Hub", "diffusers")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the network and the Hub have dozens of types between them
        raise UserError(
            f"there is no folder {source}, and {name} could not be had from the Hub ({brief(error)})"
        ) from None


def _part(folder: Path, index: Mapping[str, Any], names: tuple[str, ...]) -> Path:
    found = next((name for name in names if _named(index.get(name))), None)
    if found is None:
        parts = ", ".join(name for name in index if not name.startswith("_")) or "nothing"
        raise UserError(f"the pipeline {folder} has no {' or '.join(names)}; it holds {parts}")
    return folder / found


def _named(entry: Any) -> bool:
    """Whether a component of model_index.json is there: [library, class]."""
    return isinstance(entry, list) and len(entry) == 2 and entry[1] is not None
