"""Small charts as inline SVG: lines, bars, points, histograms. One file, no dependency, light and dark.

Text and axes take the colour of the surrounding text; series take the CSS variables --pf-1 … --pf-6, which the page
redefines for dark mode. Every chart has a title and a description for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from pushforward.report.markup import Html
from pushforward.report.scales import Scale, number

LIGHT = ("#2b62c9", "#b8471a", "#1c7f55", "#7d45c0", "#856208", "#b83268")
"""The colours of series on a light ground; each has contrast of at least 4.5 with white."""
DARK = ("#82aaff", "#ff9e6d", "#63d3a3", "#c7a0ff", "#e5c25b", "#ff8db5")
"""Their counterparts on a dark ground."""

_FONT = "font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px"
_POINTS = 400  # a line of more points than pixels is drawn by the extremes of its pieces


def colour(index: int) -> str:
    """The colour of series `index`, as a CSS variable with its light value as the fall-back."""
    index %= len(LIGHT)
    return f"var(--pf-{index + 1},{LIGHT[index]})"


@dataclass(frozen=True)
class Series:
    """Points (x, y) under one name; `faint` lines stay in the background, `dashed` ones are references.

    `colour` chooses the colour by number; None takes the next in order.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False
    dashed: bool = False
    colour: int | None = None


def smoothed(series: Series, half_life: float) -> Series:
    """The exponentially weighted mean of a series (finite values only), the weight halved every `half_life` points.

    Corrected for its start, so that the first value is the first value.
    """
    keep, total, weight, means = 0.5 ** (1 / half_life), 0.0, 0.0, []
    for value in series.y:
        if math.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight if weight else math.nan)
    return replace(series, y=means, faint=False)


@dataclass(frozen=True)
class Axes:
    """What the two axes measure and how: labels with units, logarithmic or not."""

    x: str = ""
    y: str = ""
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class _Frame:
    """The drawing area of a chart with its two scales."""

    width: int
    height: int
    x: Scale
    y: Scale
    names: float = 0.0  # room for names between the axis and the lines

    @staticmethod
    def around(
        xs: Sequence[float],
        ys: Sequence[float],
        axes: Axes,
        size: tuple[int, int],
        right: float,
        top: float,
        margin: float = 0.0,
        names: float = 0.0,
    ) -> _Frame:
        width, height = size
        y = Scale.around(ys, height - 42, top, axes.log_y, 0.06)
        left = 18 + 7 * max((len(number(t)) for t in y.ticks()), default=1) + (16 if axes.y else 0)
        return _Frame(width, height, Scale.around(xs, left + names, width - right, axes.log_x, margin), y, names)


def _text(x: float, y: float, words: str, anchor: str = "start", style: str = "") -> str:
    style = f' style="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor"{style}>{escape(words)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="currentColor" stroke-opacity="{opacity}"/>'


def _axes(f: _Frame, axes: Axes, x_ticks: bool = True) -> str:
    bottom, left, right = f.y.start, f.x.start - f.names, f.x.end
    parts = [_rule(left, bottom, right, bottom, 0.45)]
    for tick in f.y.ticks():
        y = f.y(tick)
        parts += [_rule(left, y, right, y, 0.12), _text(left - 7, y + 4, number(tick), "end", "opacity:.75")]
    for tick in f.x.ticks(6) if x_ticks else ():
        x = f.x(tick)
        parts += [_rule(x, bottom, x, bottom + 4, 0.45), _text(x, bottom + 18, number(tick), "middle", "opacity:.75")]
    if axes.x:
        parts.append(_text((left + right) / 2, bottom + 36, axes.x, "middle", "opacity:.75"))
    if axes.y:
        middle = (f.y.start + f.y.end) / 2
        turned = _text(0, 0, axes.y, "middle", "opacity:.75")
        parts.append(f'<g transform="translate(13 {middle:.1f}) rotate(-90)">{turned}</g>')
    return "".join(parts)


def _svg(width: int, height: int, title: str, description: str, body: str) -> Html:
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="pf-chart" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title)}" style="{escape(_FONT)};max-width:100%;height:auto">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _legend(names: Sequence[str], colours: Sequence[int], left: float, width: float) -> tuple[str, float]:
    """Coloured names in rows above the drawing, and the height that they take."""
    parts, x, y = [], left, 14.0
    for name, index in zip(names, colours, strict=True):
        room = 24 + 7 * len(name)
        if x + room > width and x > left:
            x, y = left, y + 18
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{colour(index)}"/>')
        parts.append(_text(x + 15, y, name))
        x += room + 8
    return "".join(parts), y + 12


def _colours(series: Sequence[Series]) -> list[int]:
    return [i if s.colour is None else s.colour for i, s in enumerate(series)]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `_POINTS` points: the lowest and highest of each piece, so that spikes stay visible."""
    if len(points) <= _POINTS:
        return points
    step = math.ceil(2 * len(points) / _POINTS)
    kept = {0, len(points) - 1}
    for i in range(0, len(points), step):
        piece = range(i, min(i + step, len(points)))
        kept |= {min(piece, key=lambda j: points[j][1]), max(piece, key=lambda j: points[j][1])}
    return [points[i] for i in sorted(kept)]


def _runs(s: Series, f: _Frame) -> list[list[tuple[float, float]]]:
    """The drawable stretches of a series: a value that is not finite (or not positive on a log axis) makes a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(s.x, s.y, strict=True):
        if f.x.shows(x) and f.y.shows(y):
            runs[-1].append((f.x(x), f.y(y)))
        elif runs[-1]:
            runs.append([])
    return [_thin(run) for run in runs if run]


def _path(s: Series, f: _Frame, index: int) -> str:
    runs = _runs(s, f)
    d = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs)
    style = f'stroke="{colour(index)}" stroke-width="{1 if s.faint else 2}" stroke-opacity="{0.35 if s.faint else 1}"'
    dash = ' stroke-dasharray="5 4"' if s.dashed else ""
    dots = "".join(
        f'<circle cx="{run[0][0]:.1f}" cy="{run[0][1]:.1f}" r="2.5" fill="{colour(index)}"/>'
        for run in runs
        if len(run) == 1
    )
    return (
        f'<path d="{d}" fill="none" stroke-linejoin="round" stroke-linecap="round" {style}{dash}/>{dots}' if d else ""
    )


def _labels(series: Sequence[Series], colours: Sequence[int], f: _Frame) -> str:
    """The names beside the lines, pushed apart where they would overlap: at their right ends, of faint ones none.

    Where the frame has room for names at the left, at the lines' starts, of faint ones too; under single points.
    """
    wanted: list[tuple[float, str, int | None]] = []
    parts = []
    for s, index in zip(series, colours, strict=True):
        runs = [] if s.faint and not f.names else _runs(s, f)
        shown = None if s.faint else index
        if f.names and sum(map(len, runs)) == 1:
            parts.append(_name(runs[0][0][0], runs[0][0][1] + 17, s.name, shown, "middle"))
        elif runs:
            wanted.append((runs[0][0][1] if f.names else runs[-1][-1][1], s.name, shown))
    x, anchor = (f.x.start - 8, "end") if f.names else (f.x.end + 8, "start")
    previous = -math.inf
    wanted.sort(key=lambda label: label[:2])
    for i, (y, name, bright) in enumerate(wanted):
        ceiling = f.y.start - 15 * (len(wanted) - 1 - i)
        previous = max(min(y, ceiling), previous + 15)
        parts.append(_name(x, previous + 4, name, bright, anchor))
    return "".join(parts)


def _name(x: float, y: float, name: str, index: int | None, anchor: str) -> str:
    look = 'fill="currentColor" opacity=".65"' if index is None else f'fill="{colour(index)}" font-weight="600"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {look}>{escape(name)}</text>'


def line_chart(
    series: Sequence[Series],
    axes: Axes,
    title: str,
    description: str,
    size: tuple[int, int] = (680, 300),
    at_start: bool = False,
) -> Html:
    """Lines with their names at their ends; gaps where a value is not finite.

    With `at_start` the names, of faint lines too, stand at the left, for lines that all end in the same place.
    """
    colours = _colours(series)
    room = 20 + 7.2 * max((len(s.name) for s in series if at_start or not s.faint), default=0)
    right, left = (20.0, room) if at_start else (room, 0.0)
    xs, ys = [v for s in series for v in s.x], [v for s in series for v in s.y]
    f = _Frame.around(xs, ys, axes, size, right, 12, names=left)
    order = sorted(range(len(series)), key=lambda i: not series[i].faint)
    lines = "".join(_path(series[i], f, colours[i]) for i in order)
    return _svg(f.width, f.height, title, description, _axes(f, axes) + lines + _labels(series, colours, f))


def scatter_chart(
    groups: Sequence[Series], axes: Axes, title: str, description: str, size: tuple[int, int] = (420, 360)
) -> Html:
    """Points of several groups, half transparent; the first group lies lowest."""
    colours = _colours(groups)
    legend, top = _legend([g.name for g in groups], colours, 30, size[0]) if len(groups) > 1 else ("", 12.0)
    f = _Frame.around([v for g in groups for v in g.x], [v for g in groups for v in g.y], axes, size, 14, top, 0.04)
    dots = []
    for g, index in zip(groups, colours, strict=True):
        points = [(f.x(x), f.y(y)) for x, y in zip(g.x, g.y, strict=True) if f.x.shows(x) and f.y.shows(y)]
        d = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
        dots.append(
            f'<path d="{d}" fill="none" stroke="{colour(index)}" stroke-width="4" stroke-linecap="round" '
            f'stroke-opacity="{0.35 if g.faint else 0.6}"/>'
        )
    return _svg(f.width, f.height, title, description, _axes(f, axes) + legend + "".join(dots))


def _outline(heights: Sequence[float], edges: Sequence[float], f: _Frame, index: int) -> str:
    base = f.y.start
    steps = [f"M{f.x(edges[0]):.1f} {base:.1f}"]
    for height, left, right in zip(heights, edges[:-1], edges[1:], strict=True):
        steps.append(f"L{f.x(left):.1f} {f.y(height):.1f}H{f.x(right):.1f}")
    steps.append(f"V{base:.1f}Z")
    drawn = f'fill="{colour(index)}" fill-opacity="0.22" stroke="{colour(index)}" stroke-width="1.5"'
    return f'<path d="{"".join(steps)}" {drawn}/>'


def _shares(values: Sequence[float], edges: Sequence[float]) -> list[float]:
    counts, width = [0] * (len(edges) - 1), (edges[-1] - edges[0]) / (len(edges) - 1)
    for v in values:
        counts[min(len(counts) - 1, max(0, int((v - edges[0]) / width)))] += 1
    return [c / max(1, len(values)) for c in counts]


def histogram(
    groups: Sequence[tuple[str, Sequence[float]]],
    label: str,
    title: str,
    description: str,
    bins: int = 30,
    size: tuple[int, int] = (420, 260),
) -> Html:
    """Shares per bin of each (name, values) over common bins; values that are not finite are left out."""
    finite = [(name, [v for v in values if math.isfinite(v)]) for name, values in groups]
    span = Scale.around([v for _, values in finite for v in values], 0, 1)
    edges = [span.low + (span.high - span.low) * i / bins for i in range(bins + 1)]
    heights = [_shares(values, edges) for _, values in finite]
    colours = list(range(len(groups)))
    legend, top = _legend([name for name, _ in finite], colours, 30, size[0]) if len(groups) > 1 else ("", 12.0)
    axes = Axes(label, "share")
    f = _Frame.around(edges, [0.0, *(h for one in heights for h in one)], axes, size, 14, top)
    f = _Frame(f.width, f.height, f.x, Scale(0.0, f.y.high, f.y.start, f.y.end))
    bars = "".join(_outline(h, edges, f, i) for h, i in zip(heights, colours, strict=True))
    return _svg(f.width, f.height, title, description, _axes(f, axes) + legend + bars)


def bar_chart(
    names: Sequence[str],
    values: Sequence[float],
    title: str,
    description: str,
    references: Sequence[float] | None = None,
    width: int = 560,
) -> Html:
    """Horizontal bars with their values; `references` (floors) are marked as ticks across the bars."""
    left, row = 16 + 7 * max((len(n) for n in names), default=0), 26
    marks = list(references) if references is not None else []
    x = Scale.around([0.0, *values, *marks], left, width - 80)
    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = 8 + row * i
        parts.append(_text(left - 8, y + 14, name, "end"))
        if not x.shows(value):
            parts.append(_text(width - 8, y + 14, "not finite", "end", "opacity:.75"))
            continue
        a, b = sorted((x(0), x(value)))
        parts.append(
            f'<rect x="{a:.1f}" y="{y}" width="{b - a:.1f}" height="18" rx="2" fill="{colour(0)}" fill-opacity="0.85"/>'
        )
        parts.append(_text(width - 8, y + 14, number(value, trim=False), "end"))
    for i, mark in enumerate(marks):
        at = x(mark)
        parts.append(f'<path d="M{at:.1f} {6 + row * i}v22" stroke="{colour(1)}" stroke-width="3"/>')
    return _svg(width, 12 + row * len(names), title, description, "".join(parts))
