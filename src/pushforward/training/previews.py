"""Samples written to `<run>/previews/` while the model trains."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pushforward.data.format import Format, Kind
from pushforward.models.denoising import generator_of
from pushforward.models.family import Denoising, Family
from pushforward.training.observers import Preview

_STEPS = 10
_IMAGES, _ROWS, _TEXTS = 30, 100, 8


def previews(out: Path, form: Format) -> Preview:
    """An observer that draws the same few samples (same noise) at every preview: a PNG grid, or a CSV table."""

    def write(model: nn.Module, path: Path) -> None:
        if not isinstance(model, Family) or form.kind is Kind.PAIR:  # what predicts makes no items to look at
            return
        few = {Kind.IMAGE: _whole_rounds(form), Kind.TEXT: _TEXTS}
        suffix, count = suffix_of(form), few.get(form.kind, _ROWS)
        steps = _STEPS if isinstance(model, Denoising) else None
        generator_of(model, form).sample(count, steps=steps).save(path.with_name(path.name + suffix))

    return Preview(out / "previews", write)


def suffix_of(form: Format) -> str:
    """The kind of file that is easiest to look at."""
    return {Kind.IMAGE: ".png", Kind.TEXT: ".txt"}.get(form.kind, ".csv")


def _whole_rounds(form: Format) -> int:
    """About thirty images, every class equally often."""
    classes = form.num_classes or 1
    return classes * max(1, _IMAGES // classes) if classes <= 2 * _IMAGES else _IMAGES
