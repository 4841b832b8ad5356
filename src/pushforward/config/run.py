"""A run read back with its model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pushforward.config.build import build_model, hollow_model
from pushforward.config.stored import Stored, read_stored
from pushforward.errors import UserError
from pushforward.models.denoising import DiffusionGenerator, LatentGenerator, as_denoising, as_sampled, generator_of
from pushforward.models.generator import Generator
from pushforward.models.latent import LatentItems
from pushforward.training.checkpoint import SUFFIX, Checkpoint, load_weights, mismatch
from pushforward.training.loop import Outcome
from pushforward.training.tunings import read_tunings
from pushforward.training.variances import read_variances, variances_on, write_variances


@dataclass(frozen=True, eq=False)
class Run(Stored):
    """A run read back with its model: `generator` holds the chosen weights; `outcome` is there just after training."""

    weights: str
    generator: Generator
    outcome: Outcome | None = None

    def denoising(self, what: str) -> DiffusionGenerator:
        """The generator as one of a denoiser. Raises UserError, naming `what` needs it, for other families."""
        return as_denoising(self.generator, what)

    def sampled(self, what: str) -> DiffusionGenerator:
        """The generator that samplers work on, of items or of their latents. Raises UserError for other families."""
        return as_sampled(self.generator, what)

    def with_variance(self) -> Run:
        """The run whose generator knows Var[x_0 | x_t], which analytic samplers use.

        Estimated on the training data the first time, some seconds' work, and stored with the run for these weights.
        Raises UserError where it is not stored and the data cannot be read again.
        """
        generator = self.sampled("an analytic sampler")
        if generator.variance is not None:
            return self
        whole, train = self.generator, self.data().train
        items = LatentItems(whole.model, train) if isinstance(whole, LatentGenerator) else train
        table = variances_on(generator.model, items)
        if self.path != self.checkpoint.path:  # what is stored in a checkpoint is listed in its manifest
            write_variances(self.path, weights_hash(self.checkpoint, self.weights), table)
        known = replace(generator, variance=table)
        if isinstance(whole, LatentGenerator):
            return replace(self, generator=replace(whole, inner=known))
        return replace(self, generator=known)


def weights_hash(checkpoint: Checkpoint, weights: str) -> str:
    """The hash of the stored weights of that name."""
    return str(checkpoint.files[weights + SUFFIX]["blake2b"])


def load_run(
    path: Path | str,
    *,
    which: str = "best",
    weights: str | None = None,
    network: nn.Module | None = None,
    device: str | None = None,
    outcome: Outcome | None = None,
) -> Run:
    """Read a run, or one of its checkpoints, with its model.

    Args:
        which: the `best` checkpoint on the validation split, or the `last`.
        weights: `model` or an average such as `ema-0.100`; by default those that validated best.
        network: the user's own, where the run was made with one.
        device: where the model is put; the fastest there is by default.
        outcome: how the training that has just ended went.

    Raises:
        UserError: there is no run, it was written by a later version, or the network or device does not fit.
    """
    found = read_stored(path, which)
    if network is None:
        _check_fits(found, weights)
    model = build_model(found.config.model, found.format, network)
    used = load_weights(model, found.checkpoint, weights)
    model.to(device_of(device)).eval()
    of_weights = weights_hash(found.checkpoint, used)
    generator = generator_of(
        model, found.format, read_variances(found.path, of_weights), read_tunings(found.path, of_weights)
    )
    return Run(found.path, found.config, found.format, found.checkpoint, found.about_data, used, generator, outcome)


def _check_fits(found: Stored, weights: str | None) -> None:
    """Refuse a configuration that does not fit the stored weights before any memory is taken for it."""
    expected = hollow_model(found.config.model, found.format).state_dict()
    difference = mismatch(expected, found.checkpoint.shapes(weights or found.checkpoint.best_weights))
    if difference:
        raise UserError(f"The weights in {found.checkpoint.path} do not fit this model: {difference}.")


def device_of(name: str | None) -> torch.device:
    """A device by its name, the fastest there is by default. Raises UserError where there is none of that name."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"there is no device {name!r} here; leave it out to use the fastest there is") from None
    return device
