"""Charts are read back as XML: what a reader would see is what is tested."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from pushforward.report.svg import DARK, LIGHT, Axes, Series, bar_chart, histogram, line_chart, scatter_chart, smoothed

NS = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script> & \"quotes\""


def parse(svg):
    return ElementTree.fromstring(svg)


def words(root):
    return ["".join(t.itertext()) for t in root.iter(f"{NS}text")]


def numbers(path):
    return [float(v) for v in re.findall(r"-?\d+\.?\d*", path)]


CHARTS = {
    "line": lambda name: line_chart([Series(name, [0, 1], [1, 2])], Axes(name, name), name, name),
    "scatter": lambda name: scatter_chart([Series(name, [0], [1]), Series("b", [2], [3])], Axes(name), name, name),
    "histogram": lambda name: histogram([(name, [1.0, 2.0]), ("b", [3.0])], name, name, name),
    "bar": lambda name: bar_chart([name], [1.0], name, name, [2.0]),
}


@pytest.mark.parametrize("chart", list(CHARTS))
def test_every_chart_is_well_formed_titled_and_escaped(chart):
    root = parse(CHARTS[chart](HOSTILE))
    assert root.find(f"{NS}title").text == HOSTILE
    assert root.find(f"{NS}desc").text == HOSTILE
    assert root.get("aria-label") == HOSTILE
    assert root.get("role") == "img"
    assert any(HOSTILE in w for w in words(root))
    assert "http" not in CHARTS[chart]("a").replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("chart", list(CHARTS))
def test_nothing_lies_outside_the_drawing(chart):
    root = parse(CHARTS[chart]("series"))
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for text in root.iter(f"{NS}text"):
        assert 0 <= float(text.get("x")) <= width
        assert 0 <= float(text.get("y")) <= height


def test_a_line_passes_through_its_points():
    root = parse(line_chart([Series("a", [0, 5, 10], [0, 1, 0])], Axes(), "t", "d"))
    (path,) = root.iter(f"{NS}path")
    x0, y0, x1, y1, x2, y2 = numbers(path.get("d"))
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 == y2 > y1


def test_log_axis_makes_a_power_law_straight():
    x = [1, 10, 100, 1000]
    root = parse(line_chart([Series("a", x, [v**-2.0 for v in x])], Axes(log_x=True, log_y=True), "t", "d"))
    found = numbers(next(root.iter(f"{NS}path")).get("d"))
    steps = [b - a for a, b in pairwise(found[1::2])]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.25)
    assert "1\u2009000" in words(root)


def test_values_that_are_not_finite_are_gaps():
    y = [1, math.nan, 2, 3, math.inf, 4]
    root = parse(line_chart([Series("a", range(6), y)], Axes(), "t", "d"))
    d = next(root.iter(f"{NS}path")).get("d")
    assert d.count("M") == 3
    assert "nan" not in d and "inf" not in d
    assert len(list(root.iter(f"{NS}circle"))) == 2  # single points are still seen
    assert "nan" not in line_chart([Series("a", [0.0], [math.nan])], Axes(), "t", "d").replace("finance", "")


def test_long_lines_are_thinned_and_spikes_survive():
    y = [0.0] * 10_000
    y[7777] = 5.0
    svg = line_chart([Series("a", range(10_000), y)], Axes(), "t", "d")
    assert len(svg) < 12_000
    heights = numbers(next(parse(svg).iter(f"{NS}path")).get("d"))[1::2]
    assert heights.count(min(heights)) == 1


def test_names_at_the_ends_do_not_overlap():
    series = [Series(f"line {i}", [0, 1], [0, 1 + i / 1000]) for i in range(6)]
    root = parse(line_chart(series, Axes(), "t", "d"))
    ends = sorted(float(t.get("y")) for t in root.iter(f"{NS}text") if (t.text or "").startswith("line"))
    assert len(ends) == 6
    assert min(b - a for a, b in pairwise(ends)) >= 14.9
    assert max(ends) < 300 - 36


def test_faint_lines_lie_below_and_bear_no_name():
    root = parse(
        line_chart([Series("bold", [0, 1], [0, 1]), Series("faint", [0, 1], [1, 0], faint=True)], Axes(), "t", "d")
    )
    opacity = [p.get("stroke-opacity") for p in root.iter(f"{NS}path")]
    assert opacity == ["0.35", "1"]
    assert "faint" not in words(root)


def test_smoothing_is_the_weighted_mean_by_definition():
    series = Series("a", range(4), [4.0, 2.0, math.nan, 0.0], faint=True, dashed=True)
    found = smoothed(series, half_life=1)
    assert found.y == pytest.approx([4, (2 + 4 / 2) / 1.5, (2 + 2) / 1.5, (0 + 1 + 1) / 1.75])
    assert not found.faint and found.dashed
    assert math.isnan(smoothed(Series("a", [0], [math.nan]), 1).y[0])


def test_histogram_areas_are_shares():
    svg = histogram([("a", [0.0] * 3 + [1.0]), ("none", [math.nan])], "x", "t", "d", bins=2)
    path = next(p for p in parse(svg).iter(f"{NS}path") if p.get("fill-opacity"))
    base, *rest = numbers(path.get("d"))[1:]
    first, second = rest[1], rest[4]
    assert (base - first) / (base - second) == pytest.approx(3, rel=0.02)


def test_bars_are_proportional_and_say_what_is_not_finite():
    root = parse(bar_chart(["a", "b", "c"], [1.0, 2.0, math.nan], "t", "d", references=[1.0, 1.0, 1.0]))
    one, two = (float(r.get("width")) for r in root.iter(f"{NS}rect"))
    assert two == pytest.approx(2 * one, abs=0.2)
    assert {"1.00", "2.00", "not finite"} <= set(words(root))
    assert len(list(root.iter(f"{NS}path"))) == 3


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("palette", "ground"), [(LIGHT, "#fcfcfa"), (DARK, "#15171b")])
def test_series_names_are_readable_on_both_grounds(palette, ground):
    for colour in palette:
        high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_many_names_wrap_into_rows_above_the_drawing():
    groups = [Series(f"a rather long name {i}", [0, 1], [0, 1]) for i in range(5)]
    root = parse(scatter_chart(groups, Axes(), "t", "d"))
    keys = [(float(r.get("x")), float(r.get("y"))) for r in root.iter(f"{NS}rect")]
    assert len(keys) == 5 and len({y for _, y in keys}) == 3
    top = min(y for p in root.iter(f"{NS}path") for y in numbers(p.get("d"))[1::3])
    assert max(y for _, y in keys) + 10 <= top
