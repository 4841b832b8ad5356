"""Items of the user's changed by a run's model: noised to a level and drawn again from there."""

from __future__ import annotations

from pathlib import Path

import torch

from pushforward.config.rows import rows_of
from pushforward.config.run import Run
from pushforward.errors import UserError
from pushforward.models.denoising import LatentGenerator
from pushforward.models.generator import Label, Samples
from pushforward.samplers.edit import FromItems


def edit(
    run: Run,
    source: str | Path = "test",
    *,
    noise: float = 1.0,
    number: int | None = 8,
    label: Label = None,
    guidance: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> Samples:
    """One draw near each item of a split or file (Meng et al. 2022): what is coarser than the noise is kept.

    Args:
        noise: σ/α where sampling begins, in model units of the denoiser: data of deviation about ½ for images, latents
            of deviation 1.
        label, guidance: what items become; of a conditional model each its own class unless given.

    Raises:
        UserError: a family that is no denoiser, items of another form, a noise that is not on the path.
    """
    denoiser = run.sampled("editing").model
    rows = rows_of(run, source, number)
    x = rows.x.to(denoiser.device)
    if isinstance(run.generator, LatentGenerator):
        with torch.no_grad():
            whole = run.generator.model.eval()
            x = torch.cat([whole.encode(part) for part in x.split(batch_size)])
    way = FromItems(x, noise)
    if label is None and denoiser.num_classes:
        if rows.labels is None:
            raise UserError("the model knows classes and these items come without: say which they are to be, --label")
        names = run.format.label_names or ()
        label = [names[i] for i in rows.labels.tolist()]
    return run.generator.sample(
        len(rows), steps=steps, seed=seed, label=label, guidance=guidance, sampler=way, batch_size=batch_size
    )
