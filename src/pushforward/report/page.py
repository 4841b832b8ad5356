"""One self-contained HTML page: nothing is fetched, nothing runs, everything is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from pushforward.report.markup import Html, render, tag
from pushforward.report.pictures import png
from pushforward.report.style import style

# The browser itself refuses whatever is not on the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def prose(*paragraphs: str) -> Html:
    """Paragraphs of text."""
    return render(*(tag("p", p) for p in paragraphs))


def picture(image: Image.Image, alt: str, caption: str = "") -> Html:
    """An image inside the page, with the words that stand for it and a caption below."""
    data = base64.b64encode(png(image)).decode()
    shown = Html(
        f'<img src="data:image/png;base64,{data}" width="{image.width}" height="{image.height}" alt="{escape(alt)}">'
    )
    return figure(shown, caption)


def figure(content: Html, caption: str = "") -> Html:
    """A chart or other markup with a caption below."""
    return tag("figure", content, *([tag("figcaption", caption)] if caption else []))


def row(*content: Html) -> Html:
    """Figures side by side where the page is wide enough."""
    return tag("div", *content, class_="pf-row")


def details(summary: str, *content: str) -> Html:
    """Content that opens on a click."""
    return tag("details", tag("summary", summary), *content)


def code(text: str) -> Html:
    """Text as it was typed."""
    return tag("pre", text)


def facts(pairs: Mapping[str, str]) -> Html:
    """Names and values, one pair per line."""
    return tag("dl", *(render(tag("dt", name), tag("dd", value)) for name, value in pairs.items()))


@dataclass(frozen=True)
class Figure:
    """One key figure: the number, what it is, and what to hold it against."""

    value: str
    name: str
    note: str = ""


def cards(*figures: Figure) -> Html:
    """Key figures in a row."""
    made = [tag("div", tag("b", f.value), tag("span", f.name), tag("small", f.note), class_="pf-card") for f in figures]
    return tag("div", *made, class_="pf-cards")


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", numeric: Sequence[int] = ()
) -> Html:
    """A table whose first column names its rows; the columns numbered in `numeric` are set flush right."""

    def kind(i: int) -> str | None:
        return "pf-num" if i in numeric else None

    head = tag("thead", tag("tr", *(tag("th", h, scope="col", class_=kind(i)) for i, h in enumerate(headers))))
    body = [
        tag(
            "tr",
            *(
                tag("td", cell, class_=kind(i)) if i else tag("th", cell, scope="row", class_=kind(i))
                for i, cell in enumerate(cells)
            ),
        )
        for cells in rows
    ]
    below = [tag("caption", caption)] if caption else []
    return tag("div", tag("table", *below, head, tag("tbody", *body)), class_="pf-scroll")


@dataclass(frozen=True)
class Verdict:
    """The first thing that is read: one sentence, and whether it is good news (None: neither)."""

    text: str
    good: bool | None = None

    def html(self) -> Html:
        word, tone = {True: ("✓ Reached", "good"), False: ("✗ Not reached", "bad"), None: ("Result", None)}[self.good]
        return tag(
            "div", tag("strong", word), tag("span", self.text), class_=" ".join(filter(None, ("pf-verdict", tone)))
        )


@dataclass(frozen=True)
class Section:
    """A titled part of the page; plain strings in `content` become paragraphs."""

    title: str
    content: Sequence[str]

    def html(self, number: int) -> Html:
        parts = [c if isinstance(c, Html) else prose(c) for c in self.content]
        return tag("section", tag("h2", self.title), *parts, id=f"s{number}")


@dataclass(frozen=True)
class Page:
    """The report: title, subtitle, verdict, sections, and a line at the foot."""

    title: str
    subtitle: str
    verdict: Verdict
    sections: Sequence[Section]
    lead: Sequence[Html] = ()
    foot: str = ""

    def render(self) -> str:
        """The complete page as text, to be written as UTF-8."""
        links = [tag("a", s.title, href=f"#s{i}") for i, s in enumerate(self.sections, 1)]
        header = tag(
            "header",
            tag("h1", self.title),
            tag("p", self.subtitle, class_="pf-subtitle"),
            self.verdict.html(),
            *self.lead,
            tag("nav", *links, aria_label="Contents"),
        )
        sections = [s.html(i) for i, s in enumerate(self.sections, 1)]
        body = tag("main", header, *sections, *([tag("footer", self.foot)] if self.foot else []))
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f"{tag('title', self.title)}<style>{style()}</style></head><body>{body}</body></html>\n"
        )
