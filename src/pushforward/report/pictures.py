"""Pictures of samples: grids, filmstrips and pair plots, from arrays in the user's own form.

Small images are enlarged by whole factors with nearest-neighbour pixels, so that what is shown is what was made.
The ground between tiles is transparent and captions are mid-grey, so a picture suits a light and a dark page.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pushforward.errors import UserError
from pushforward.report.markup import Html, tag
from pushforward.report.svg import Axes, Series, histogram, scatter_chart

Images = NDArray[np.generic] | Tensor
"""(N, C, H, W), (N, H, W) or (N, H, W, C) of uint8, uint16 or floats; C is 1 (grey), 3 (colour), 4 (with alpha)."""

Limits = tuple[float, float]
"""The values that are shown black and white."""

_GREY = (128, 136, 144, 255)


def _channels_last(images: Images) -> NDArray[np.generic]:
    """(N, H, W, C); other numbers of channels than 1, 3, 4 are laid side by side as grey."""
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if array.ndim == 3:
        return array[..., None]
    if array.ndim != 4:
        raise UserError(f"Images must be of shape (N, C, H, W) or (N, H, W), but were given as {array.shape}.")
    if array.shape[1] in (1, 3, 4) or array.shape[3] not in (1, 3, 4):
        array = array.transpose(0, 2, 3, 1)
    if array.shape[3] in (1, 3, 4):
        return array
    n, height, width, channels = array.shape
    return array.transpose(0, 1, 3, 2).reshape(n, height, channels * width, 1)


def limits_of(images: Images) -> Limits:
    """Black and white: the range of unsigned integer types, else the extremes of the finite values."""
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if array.dtype == np.uint8:
        return 0.0, 255.0
    if array.dtype == np.uint16:
        return 0.0, 65535.0
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def pixels(images: Images, limits: Limits | None = None) -> NDArray[np.uint8]:
    """Images as 8-bit (N, H, W, C) between `limits`; what is not finite is shown black."""
    array = _channels_last(images)
    low, high = limits_of(images) if limits is None else limits
    share = (np.nan_to_num(array.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return np.round(255 * share.clip(0, 1)).astype(np.uint8)


def _tile(pixel: NDArray[np.uint8], scale: int) -> Image.Image:
    squeezed = pixel[..., 0] if pixel.shape[-1] == 1 else pixel
    image = Image.fromarray(squeezed).convert("RGBA")
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _factor(shape: Sequence[int], size: int) -> int:
    return max(1, round(size / max(shape)))


def _font(size: int = 13) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(words: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The words, shortened with an ellipsis until they fit."""
    if font.getlength(words) <= width:
        return words
    while words and font.getlength(words + "…") > width:
        words = words[:-1]
    return words + "…" if words else ""


def grid(
    images: Images,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    limits: Limits | None = None,
    size: int = 56,
    gap: int = 4,
) -> Image.Image:
    """Images in rows of `columns` (default: about square), each enlarged to about `size` pixels, captions below them.

    Pass the same `limits` (see `limits_of`) to pictures that are to be compared.
    """
    tiles = pixels(images, limits)
    if not len(tiles):
        raise UserError("A picture needs at least one image, but was given none.")
    if captions is not None and len(captions) != len(tiles):
        raise UserError(f"{len(tiles)} images were given {len(captions)} captions; give one to each.")
    columns = min(columns or math.ceil(math.sqrt(len(tiles))), len(tiles))
    scale, line = _factor(tiles.shape[1:3], size), 18 if captions else 0
    width, height = tiles.shape[2] * scale + gap, tiles.shape[1] * scale + gap + line
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGBA", (columns * width - gap, rows * height - gap), (0, 0, 0, 0))
    draw, font = ImageDraw.Draw(sheet), _font()
    for i, tile in enumerate(tiles):
        x, y = i % columns * width, i // columns * height
        sheet.paste(_tile(tile, scale), (x, y))
        if captions is not None:
            words = _fit(captions[i], width - gap, font)
            draw.text((x + (width - gap) / 2, y + height - gap - line / 2 + 1), words, _GREY, font, anchor="mm")
    return sheet


def filmstrip(
    frames: Images | Sequence[Images],
    steps: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    limits: Limits | None = None,
    size: int = 56,
) -> Image.Image:
    """Images over time: frames (rows, times, C, H, W), `steps` written above the columns, `rows` left of the rows."""
    strips = [np.asarray(f.detach().cpu().numpy() if isinstance(f, Tensor) else f) for f in frames]
    if not strips or len({s.shape for s in strips}) > 1:
        raise UserError("A filmstrip needs one or more rows of the same number of images of one size.")
    times = len(strips[0])
    for name, given, expected in (("column", steps, times), ("row", rows, len(strips))):
        if given is not None and len(given) != expected:
            raise UserError(f"The filmstrip has {expected} {name}s but was given {len(given)} {name} captions.")
    sheet = grid(np.concatenate(strips), times, None, limits, size)
    font, pitch = _font(), ((sheet.width + 4) / times, (sheet.height + 4) / len(strips))
    left = math.ceil(max(font.getlength(r) for r in rows)) + 10 if rows else 0
    top = 20 if steps else 0
    page = Image.new("RGBA", (sheet.width + left, sheet.height + top), (0, 0, 0, 0))
    page.paste(sheet, (left, top))
    draw = ImageDraw.Draw(page)
    for i, words in enumerate(steps or ()):
        shown = _fit(words, int(pitch[0]), font)
        draw.text((left + (i + 0.5) * pitch[0] - 2, top / 2), shown, _GREY, font, anchor="mm")
    for i, words in enumerate(rows or ()):
        draw.text((left - 8, top + (i + 0.5) * pitch[1] - 2), words, _GREY, font, anchor="rm")
    return page


def png(image: Image.Image) -> bytes:
    """The image as an optimised PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _rows(x: Images, most: int) -> NDArray[np.float64]:
    array = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    return array.reshape(len(array), -1)[:most].astype(np.float64)


def pair_plots(
    samples: Images, real: Images, names: Sequence[str] | None = None, most: int = 400, columns: int = 6
) -> Html:
    """Vectors or tables, real beside made: a histogram of each column and a scatter plot of each neighbouring pair.

    samples (N, D), real (M, D); at most `most` points of each and the first `columns` columns are drawn.
    """
    a, b = _rows(real, most), _rows(samples, most)
    if a.shape[1] != b.shape[1]:
        raise UserError(f"Samples have {b.shape[1]} columns but the real data have {a.shape[1]}; plot like with like.")
    names = [f"x{i + 1}" for i in range(a.shape[1])] if names is None else list(names)
    shown = range(min(columns, a.shape[1]))
    charts = [
        histogram(
            [("real", a[:, i].tolist()), ("samples", b[:, i].tolist())],
            names[i],
            f"Histogram of {names[i]}",
            f"Shares of real and sampled values of {names[i]}.",
            bins=24,
            size=(292, 210),
        )
        for i in shown
    ]
    charts += [
        scatter_chart(
            [Series("real", a[:, i].tolist(), a[:, j].tolist()), Series("samples", b[:, i].tolist(), b[:, j].tolist())],
            Axes(names[i], names[j]),
            f"{names[j]} against {names[i]}",
            f"Real and sampled items in the plane of {names[i]} and {names[j]}.",
            size=(292, 270),
        )
        for i, j in pairwise(shown)
    ]
    return tag("div", *charts, class_="pf-row")
