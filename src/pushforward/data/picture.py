"""One image file to an array that holds every bit of it, or one sentence that says why not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pushforward.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""The only decoders used, whatever a file's name: some of Pillow's others start external programs."""
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258


@dataclass(frozen=True)
class Picture:
    """The pixels (H, W) or (H, W, C), the mode they are in, what was noticed, and a hash of the file."""

    pixels: np.ndarray
    mode: str
    notes: tuple[str, ...]
    digest: bytes


@dataclass(frozen=True)
class Opening:
    """How images are read: convert all to `mode` (None: keep), refuse more than `max_pixels`."""

    mode: str | None = None
    max_pixels: int = 1 << 26


def read_picture(path: Path, opening: Opening) -> Picture:
    """Decode one whole file. Raises UserError naming it where it is missing, damaged, too large or of another mode."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}. Check that it exists and is yours."
        ) from error
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(path, image, opening.max_pixels)
            notes = _notes(image)
            image.load()
            pixels, mode, more = _pixels(path, ImageOps.exif_transpose(image), opening.mode)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} declares too many pixels ({error}): make it smaller or remove it.") from error
    except Exception as error:  # decoders raise nearly every type on damaged bytes
        raise UserError(
            f"{path} is not a readable {' / '.join(FORMATS)} image or is cut short ({_brief(error)}): "
            "replace the file or remove it."
        ) from error
    return Picture(pixels, mode, notes + more, blake2b(data, digest_size=16).digest())


def _brief(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify" in text else text[:80]


def _check_size(path: Path, image: Image.Image, limit: int) -> None:
    width, height = image.size
    if width * height > limit:
        raise UserError(
            f"{path} is {width}×{height} = {width * height:,} pixels, and the limit is {limit:,}: "
            "make it smaller, remove it, or allow more with max_pixels (--set data.max_pixels=…)."
        )


def _notes(image: Image.Image) -> tuple[str, ...]:
    found = []
    if image.mode in ("RGB", "RGBA") and _deep(image):  # before anything below makes Pillow decode
        found.append("has 16 bits per colour channel, of which Pillow keeps 8")
    if getattr(image, "n_frames", 1) > 1:
        found.append("holds several frames or pages: the first is used")
    if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
        found.append("is turned upright as its EXIF orientation says")
    return tuple(found)


def _deep(image: Image.Image) -> bool:
    """Whether the file holds more than 8 bits per channel (Pillow opens such colour files as 8 bits, silently)."""
    if image.format == "PNG":
        return any("16" in str(tile[-1]) for tile in getattr(image, "tile", ()))
    tags = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8


def _pixels(path: Path, image: Image.Image, wanted: str | None) -> tuple[np.ndarray, str, tuple[str, ...]]:
    if wanted is not None and image.mode != wanted:
        return _converted(path, image, wanted), wanted, (f"was converted from {image.mode} to {wanted} as asked",)
    keep = _KEPT.get(image.mode)
    if keep is None:
        raise UserError(
            f"{path} has the colour mode {image.mode}, which has no lossless form here: "
            "convert it to grey (L), RGB or RGBA, or ask for that with mode='RGB' (--set data.mode=RGB)."
        )
    return keep(path, image)


def _converted(path: Path, image: Image.Image, wanted: str) -> np.ndarray:
    """To 8-bit grey, RGB or RGBA. Deep grey is scaled by its 16 bits: Pillow's own conversion clips it to white."""
    if image.mode == "F":
        raise UserError(f"{path} holds real numbers, which cannot be converted to {wanted}: leave mode unset.")
    if image.mode.startswith("I"):
        deep, _, _ = _keep_deep(path, image)
        image = Image.fromarray(np.round(deep / 257).astype(np.uint8))
    return np.asarray(image.convert(wanted))


_Kept = tuple[np.ndarray, str, tuple[str, ...]]


def _keep(path: Path, image: Image.Image) -> _Kept:
    return np.asarray(image), image.mode, ()


def _keep_deep(path: Path, image: Image.Image) -> _Kept:
    wide = np.asarray(image).astype(np.int64)
    if wide.size and not 0 <= wide.min() <= wide.max() <= 0xFFFF:
        raise UserError(f"{path} is 32-bit grey with values outside 0 … 65535: save it as 16 bits or as a .npy array.")
    return wide.astype(np.uint16), "I;16", ()


def _as(mode: str, said: str) -> Callable[[Path, Image.Image], _Kept]:
    return lambda path, image: (np.asarray(image.convert(mode)), mode, (said,))


def _keep_palette(path: Path, image: Image.Image) -> _Kept:
    mode = "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
    return np.asarray(image.convert(mode)), mode, (f"has a palette: converted to {mode} without loss",)


_KEPT: dict[str, Callable[[Path, Image.Image], _Kept]] = {
    "L": _keep,
    "RGB": _keep,
    "RGBA": _keep,
    "F": _keep,
    "I": _keep_deep,
    "I;16": _keep_deep,
    "I;16B": _keep_deep,
    "I;16L": _keep_deep,
    "I;16N": _keep_deep,
    "1": _as("L", "is black and white (1 bit): converted to 8-bit grey without loss"),
    "LA": _as("RGBA", "is grey with alpha: converted to RGBA without loss"),
    "La": _as("RGBA", "is grey with alpha: converted to RGBA without loss"),
    "P": _keep_palette,
    "PA": _keep_palette,
}
