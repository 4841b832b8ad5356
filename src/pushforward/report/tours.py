"""Pictures of tours: cities and edges, beside one another, and the heat of edges on the way to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pushforward.combinatorial.tsp import unit_square

_INK, _CITY, _PAPER, _WORDS = (43, 98, 201), (184, 71, 26), (255, 255, 255), (90, 96, 104)
_SHARP = 3
"""Drawn so many times larger and then reduced, so that lines are smooth."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """One tile: cities (n, 2), edges of strength 0 … 1 (n, n), and what is written below."""

    cities: np.ndarray
    edges: np.ndarray
    words: str = ""

    @staticmethod
    def of_tour(cities: np.ndarray, tour: np.ndarray, words: str = "") -> Drawing:
        """The closed tour (n,) at full strength."""
        edges = np.zeros((len(cities), len(cities)))
        edges[tour, np.roll(tour, -1)] = 1.0
        return Drawing(cities, np.maximum(edges, edges.T), words)


def sheet(drawings: Sequence[Drawing], columns: int | None = None, size: int = 240) -> Image.Image:
    """Drawings in rows of `columns` (default: one row), each `size` pixels wide, words below."""
    columns = columns or len(drawings)
    line = 22 if any(d.words for d in drawings) else 0
    rows = -(-len(drawings) // columns)
    page = Image.new("RGB", (columns * size, rows * (size + line)), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for i, drawing in enumerate(drawings):
        x, y = i % columns * size, i // columns * (size + line)
        page.paste(_tile(drawing, size), (x, y))
        if drawing.words:
            draw.text((x + size / 2, y + size + line / 2 - 2), drawing.words, _WORDS, font, anchor="mm")
    return page


def _tile(drawing: Drawing, size: int) -> Image.Image:
    large = size * _SHARP
    image = Image.new("RGB", (large, large), _PAPER)
    draw, rim = ImageDraw.Draw(image), large / 16
    points = rim + unit_square(drawing.cities) * (large - 2 * rim)
    points[:, 1] = large - points[:, 1]  # y upwards
    first, second = np.triu_indices(len(points), 1)
    strength = np.clip(drawing.edges[first, second], 0, 1)
    for k in np.argsort(strength):  # the strongest on top
        if strength[k] > 0.02:
            shade = tuple(round(p + (i - p) * float(strength[k])) for p, i in zip(_PAPER, _INK, strict=True))
            ends = (*points[first[k]].tolist(), *points[second[k]].tolist())
            draw.line(ends, shade, 2 * _SHARP)
    radius = max(1.5, 5 - len(points) / 40) * _SHARP
    for x, y in points.tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), _CITY)
    return image.resize((size, size), Image.Resampling.LANCZOS)
