"""The page: well formed, self-contained, escaped, readable without seeing."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.report.markup import Html, render, tag
from pushforward.report.metrics_table import metrics_table, verdict_of
from pushforward.report.page import (
    Figure,
    Page,
    Section,
    Verdict,
    cards,
    code,
    details,
    facts,
    figure,
    picture,
    row,
    table,
)
from pushforward.report.pictures import grid
from pushforward.report.svg import Axes, Series, line_chart

VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = "<img src=x onerror=alert(1)> & 'it' \"too\""
ROWS = (
    Row("FD[x]", 2.0, 1.0, "distance", "low", 100, sd=0.1, floor_sd=0.2, control=5.0, target=3.0),
    Row("accuracy[svc]", 0.5, 0.9, "share", "high", 100, sd=0.1, target=0.87),
    Row("recall[x]", 0.8, 0.9, HOSTILE, "high", 100),
)


class Reader(HTMLParser):
    """Checks that every element is closed in order, and keeps what it saw."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.attributes, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.seen.append(name)
        self.attributes.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.seen.append(name)
        self.attributes.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def page(words=HOSTILE):
    image = grid(np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4))
    chart = line_chart([Series(words, [0, 1], [0, 1])], Axes(words), words, words)
    return Page(
        words,
        words,
        Verdict(words, True),
        [
            Section(
                words, [words, row(picture(image, words, words), figure(chart, words)), metrics_table(ROWS, words)]
            ),
            Section(
                "More", [details(words, facts({words: words}), code(words)), table([words, "b"], [[words, words]])]
            ),
        ],
        lead=[cards(Figure(words, words, words))],
        foot=words,
    ).render()


def test_the_page_is_well_formed_and_says_everything():
    read = Reader(page("plain words"))
    assert {
        "html",
        "title",
        "h1",
        "h2",
        "nav",
        "figure",
        "figcaption",
        "img",
        "svg",
        "table",
        "details",
        "dl",
        "footer",
    } <= set(read.seen)
    assert read.seen.count("h1") == 1
    links = [a["href"] for n, a in read.attributes if n == "a"]
    ids = {a["id"] for n, a in read.attributes if "id" in a}
    assert {link.removeprefix("#") for link in links} <= ids
    assert "✓ Reached" in read.text


def test_words_of_the_user_stay_words():
    read = Reader(page(HOSTILE))
    assert "".join(read.text).count(HOSTILE) > 12
    assert read.seen.count("img") == 1
    assert all(not name.startswith("on") for _, attributes in read.attributes for name in attributes)


def test_nothing_comes_from_elsewhere_and_nothing_runs():
    html = page("words")
    outside = set(re.findall(r"(?:https?:)?//[a-z0-9.]+", html)) - {"http://www.w3.org"}
    assert {u for u in outside if "." in u} == set()
    assert "<script" not in html and "@import" not in html and "url(" not in html
    assert "default-src 'none'" in html


def test_images_are_inside_the_page_with_words_that_stand_for_them():
    image = grid(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4))
    (_, attributes) = next(a for a in Reader(picture(image, "a digit")).attributes if a[0] == "img")
    data = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(image))
    assert attributes["alt"] == "a digit"
    assert (attributes["width"], attributes["height"]) == (str(image.width), str(image.height))


def test_the_page_looks_after_dark_paper_and_small_screens():
    html = page("words")
    for needed in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem", "width=device-width", 'lang="en"'):
        assert needed in html


@given(st.text(max_size=40))
def test_any_text_survives_escaping(words):
    words = words.replace("\r", "").replace("\x00", "")
    read = Reader(tag("p", words, title=words))
    assert "".join(read.text) == words


def test_plain_strings_are_escaped_and_markup_passes():
    assert render("<b>", Html("<i></i>"), "&") == "&lt;b&gt;<i></i>&amp;"
    assert tag("th", "x", class_="a", scope=None, aria_label="l") == '<th class="a" aria-label="l">x</th>'


@pytest.mark.parametrize(("good", "word"), [(True, "✓ Reached"), (False, "✗ Not reached"), (None, "Result")])
def test_the_verdict_says_in_words_what_it_says_in_colour(good, word):
    assert word in Reader(Verdict("so", good).html()).text


def test_the_metrics_table_shows_value_beside_floor_control_and_target():
    read = Reader(metrics_table(ROWS, "100 samples"))
    text = read.text
    assert text[text.index("FD[x]") :][:7] == ["FD[x]", "distance", "2.00", "± 0.10", "1.00", "± 0.20", "5.00"]
    assert text.count("✓ reached") == 1 and text.count("✗ not reached") == 1
    assert {"≤ 3", "≥ 0.87", "higher is better", "–"} <= set(text)
    assert read.seen.count("svg") == 3
    numeric = [a for n, a in read.attributes if n == "td" and a.get("class") == "pf-num"]
    assert len(numeric) == 9


def test_the_gauge_puts_dot_bar_and_ring_in_order():
    html = metrics_table(ROWS[:1])
    ring, dot = (float(v) for v in re.findall(r'circle cx="([\d.]+)"', html))
    bar = float(re.search(r"M([\d.]+) 3v16", html).group(1))
    assert bar < dot < ring
    assert dot - bar == pytest.approx((ring - bar) / 4, abs=1)


def test_the_verdict_of_an_evaluation_names_what_is_missed():
    missed = verdict_of(Evaluation(ROWS, 100, 50, "x"))
    assert missed.good is False
    assert missed.text.startswith("1 of 2 targets")
    assert "accuracy[svc] is 0.5, target ≥ 0.87" in missed.text
    assert "FD" not in missed.text
    reached = verdict_of(Evaluation(ROWS[:1], 100, 50, "x"))
    assert reached.good is True
    assert "FD[x] 2 (real data 1)" in reached.text
