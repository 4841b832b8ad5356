"""What 90 % intervals hold, and how far means are off: measured rows of restoration as pictures for the guide.

    .venv/bin/python benchmarks/posterior/pictures.py

Reads `benchmarks/results/inverse_exact.json` and `posterior_exact.json`, runs nothing, and writes
`docs/images/uncertainty-coverage.svg` and `uncertainty-error.svg`: a row per method, a point per problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from pathlib import Path

from pushforward.report.svg import LIGHT
from results import read

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PROBLEMS = ("inpainting, σ 0.1", "blur, σ 0.1", "16 projections, σ 0.1", "inpainting, σ 0.5")
EXACT = ("tempering, 1000", "split Gibbs, 2000")
GUIDED = (
    "exact score, SDE 2M",
    "MMPS, 1 iteration",
    "PiGDM",
    "TMPD, ancestral",
    "PiGDM, published",
    "DDRM",
    "DDRM, published",
    "DDRM, published, 400",
    "DDNM, published",
    "RePaint, published",
    "projected score, published",
    "CCDF, published",
    "DiffPIR, published",
    "DPS, ζ = 1, ancestral",
    "DPS, ζ = 0.3, ancestral",
    "score-ALD, ancestral",
    "RED-diff, published",
)
_LEFT, _RIGHT, _ROW, _TOP, _WIDTH = 210, 20, 22, 54, 720


def rows(measure: str) -> list[tuple[str, list[float]]]:
    """Each method with its values on the problems, in the order above."""
    exact, guided = read("posterior_exact"), read("inverse_exact")
    found = [(name, exact[name]) for name in EXACT] + [(name, guided[name]) for name in GUIDED]
    return [(name, [cells[p][measure] for p in PROBLEMS if p in cells]) for name, cells in found]


def chart(
    told: list[tuple[str, list[float]]],
    place: Callable[[float], float],
    ticks: list[tuple[float, str]],
    good: tuple[float, float],
    title: str,
) -> str:
    """An SVG of points: `place` maps a value to 0 … 1, `good` is the range in which an answer is right."""
    height = _TOP + _ROW * len(told) + 30

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(place(value), 0.0), 1.0)

    low, high = x(good[0]), x(good[1])
    parts = [
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<rect x="{low:.1f}" y="{_TOP}" width="{high - low:.1f}" height="{_ROW * len(told)}" fill="#1c7f55" '
        'fill-opacity="0.18"/>',
        _text(8, 18, title, "font-weight:600"),
    ]
    for i, problem in enumerate(PROBLEMS):
        at = 8 + 175 * i
        parts += [_dot(at + 4, 36, i), _text(at + 14, 40, problem)]
    for value, name in ticks:
        at = x(value)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{height - 28}" stroke="#000" stroke-opacity="0.15"/>')
        parts.append(_text(at, height - 12, name, "text-anchor:middle"))
    for i, (name, values) in enumerate(told):
        y = _TOP + _ROW * (i + 0.5)
        parts.append(_text(_LEFT - 12, y + 4, name, "text-anchor:end"))
        parts += [_dot(x(value), y, k) for k, value in enumerate(values)]
    font = "font-family:ui-sans-serif,system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" style="{font}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>\n"
    )


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#1b1f24" style="{style}">{escape(words)}</text>'


def _dot(x: float, y: float, index: int) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{LIGHT[index]}" fill-opacity="0.8"/>'


def main() -> None:
    coverage = chart(
        rows("coverage"),
        lambda value: value,
        [(v / 10, f"{10 * v} %") for v in range(0, 11, 1)],
        (0.85, 0.93),
        "What intervals of 90 % hold of the truth",
    )
    error = chart(
        rows("error"),
        lambda value: math.log(value / 0.05) / math.log(10 / 0.05),
        [(v, f"{v:g}") for v in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)],
        (0.05, 0.15),
        "Error of the mean, in deviations of the exact posterior (96 exact draws: 0.1)",
    )
    for name, picture in (("coverage", coverage), ("error", error)):
        (IMAGES / f"uncertainty-{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
