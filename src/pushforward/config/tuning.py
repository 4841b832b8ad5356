"""Fitting a sampler to a run's model, and storing it with the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pushforward.config.run import Run, weights_hash
from pushforward.errors import UserError
from pushforward.models.denoising import as_sampled
from pushforward.numerics.random import Draws
from pushforward.samplers.tuning import Effort, Report, TuningResult
from pushforward.samplers.tuning import tune as fit
from pushforward.training.tunings import write_tuning

DEFAULT_EFFORT = 0.125
"""Of what an exact denoiser is given: minutes for a small network on a processor."""
_REFERENCE = 64
"""Evaluations that find an endpoint of a network: what is left is far below what few evaluations miss."""


def effort_of(share: float) -> Effort:
    """A share of the full starts, steps and batch: the work grows with its square. Raises UserError outside (0, 10]."""
    if not 0 < share <= 10:
        raise UserError(f"the effort of tuning is above 0 and at most 10, {DEFAULT_EFFORT} by default; got {share:g}")
    full = Effort()
    return Effort(
        starts=max(64, round(share * full.starts)),
        batch=max(16, round(min(1.0, share) * full.batch)),
        steps=max(10, round(share * full.steps)),
        reference=_REFERENCE if share < 1 else full.reference,
        validation=max(64, round(share * full.validation)),
        held_out=max(64, round(share * full.held_out)),
    )


def tune(
    run: Run,
    evaluations: int,
    *,
    effort: Effort | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> tuple[TuningResult, Path | None]:
    """A sampler of n evaluations fitted to the run's model, and where it is stored, None where it does not help.

    Once stored it is what the run samples with at n evaluations, without guidance, as long as its weights are these.
    Of a latent model it is the sampler of its latents. Raises UserError for evaluations < 2, and for a single
    checkpoint in place of a run.
    """
    if run.path == run.checkpoint.path:
        raise UserError(f"{run.path} is one checkpoint, which nothing is added to: give the folder of its run")
    model = as_sampled(run.generator, "tuning a sampler").model.eval()

    def conditions(draws: Draws) -> Mapping[str, Tensor]:
        return {"label": draws.at("label").integers(model.num_classes)}

    result = fit(
        model.denoiser(),
        evaluations,
        shape=model.shape,
        sigma_data=model.prediction.sigma_data,
        effort=effort or effort_of(DEFAULT_EFFORT),
        seed=seed,
        conditions=conditions if model.num_classes else None,
        device=model.device,
        progress=progress,
    )
    if result.sampler is None:
        return result, None
    return result, write_tuning(run.path, weights_hash(run.checkpoint, run.weights), result)
