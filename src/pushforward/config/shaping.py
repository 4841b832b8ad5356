"""What is put around a run's estimates while it is sampled: where guidance acts, the range that E[x_0 | x_t] keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from pushforward.config.run import Run
from pushforward.data.columns import Columns
from pushforward.data.format import Format, Kind
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.guidance import ALWAYS, GuidanceInterval
from pushforward.denoisers.wrappers import clipped, dynamically_thresholded
from pushforward.errors import UserError
from pushforward.models.denoising import LatentGenerator, as_sampled
from pushforward.models.generator import Generator
from pushforward.numerics.broadcast import Scalar


def parse_interval(text: str) -> GuidanceInterval:
    """`low,high` in σ/α. Raises UserError for anything else."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"the guidance interval is two noise levels σ/α, the lower first, such as 0.2,5; got {text!r}"
        ) from None
    return GuidanceInterval(low, high)


def shaped(
    run: Run,
    *,
    guidance: float = 1.0,
    interval: GuidanceInterval = ALWAYS,
    clip: bool = False,
    threshold: float | None = None,
) -> Run:
    """The run whose generator guides at the levels of an interval alone and keeps E[x_0 | x_t] in the data's range.

    Args:
        guidance: the weight that will be asked for.
        clip: values beyond the range are set to its ends.
        threshold: each picture's estimate is clipped at this quantile of its own sizes and scaled back into the range.

    Raises:
        UserError: a run that is no denoiser, an interval without guidance, both ways of keeping a range, a threshold
            outside (0, 1] or of data that are no pictures.
    """
    if interval is ALWAYS and not clip and threshold is None:
        return run
    if interval is not ALWAYS and guidance == 1.0:
        raise UserError("a guidance interval says where guidance acts, and its weight is 1, none: give --guidance too")
    if clip and threshold is not None:
        raise UserError("estimates are kept in the data's range by clipping or by a threshold: give one of the two")
    if not clip and threshold is None:
        return replace(run, generator=_guided_within(run.generator, interval))
    generator = run.denoising("a range of estimates")
    around = _around(run.format, clip, threshold)
    return replace(run, generator=replace(generator, interval=interval, around=around))


def _guided_within(generator: Generator, interval: GuidanceInterval) -> Generator:
    """Guided at the levels of the interval alone, those of latents where these are denoised."""
    sampled = replace(as_sampled(generator, "a guidance interval"), interval=interval)
    return replace(generator, inner=sampled) if isinstance(generator, LatentGenerator) else sampled


def _around(form: Format, clip: bool, threshold: float | None) -> Callable[[Denoiser], Denoiser] | None:
    if threshold is not None:
        if form.kind is not Kind.IMAGE:
            raise UserError(
                f"a threshold is of pictures, whose numbers share one range; this run makes items of the kind "
                f"{form.kind.value}: use --clip"
            )
        if not (math.isfinite(threshold) and 0 < threshold <= 1):
            raise UserError(f"the threshold is a quantile in (0, 1], such as 0.995; got {threshold:g}")
        return partial(dynamically_thresholded, quantile=threshold)
    if not clip:
        return None
    low, high = _range(form)
    return partial(clipped, low=low, high=high)


def _range(form: Format) -> tuple[Scalar, Scalar]:
    """The ends of the data's range in model units, of columns one each (D,)."""
    coding = form.coding
    if not isinstance(coding, Columns):
        return -1.0, 1.0
    rows = (torch.tensor([v[i] for i in coding.varying], dtype=torch.float64) for v in (coding.low, coding.high))
    offset, scale = (torch.tensor(v, dtype=torch.float64) for v in (coding.offset, coding.scale))
    low, high = ((v - offset) / scale for v in rows)
    return low, high
