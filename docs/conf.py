"""Sphinx: `make docs` writes docs/_build/html, which opens offline: nothing in it is loaded from another host."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.pycode import ModuleAnalyzer

import pushforward

project = "pushforward"
author = "the pushforward authors"
version = release = pushforward.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "images"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"pushforward {release}"
html_static_path = ["_static"]
html_css_files = ["formulas.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_math_renderer = "mathml"


# The docstring of a constant stands below its definition; autodoc reads it only where the constant is defined.


def constants(app: Sphinx) -> None:
    """Let a package that passes a constant on know what is said of it."""
    for info in pkgutil.iter_modules(pushforward.__path__, "pushforward."):
        if info.ispkg:
            package = import_module(info.name)
            known = ModuleAnalyzer.for_module(info.name).find_attr_docs()
            for name in getattr(package, "__all__", ()):
                lines = written_below(name, getattr(package, name))
                if lines:
                    known.setdefault(("", name), lines)


def written_below(name: str, value: object) -> list[str]:
    """The docstring below a constant's definition, in whichever module that is; none for a class or function."""
    for where, module in [*sys.modules.items()]:
        if where.startswith("pushforward.") and vars(module).get(name) is value:
            lines = ModuleAnalyzer.for_module(where).find_attr_docs().get(("", name))
            if lines:
                return lines
    return []


# Docstrings are plain text with `code`, tables and formulas in Unicode; |x| and x_ mean other things to docutils.


def docstring(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText, in place."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = [line for paragraph in paragraphs for line in (*converted(paragraph), "")]


def converted(paragraph: str) -> Iterator[str]:
    """A table, an indented block or an example as such; a list or running text with its marks made harmless."""
    rows = paragraph.splitlines()
    if not paragraph.strip():
        return
    if all(row.startswith("|") for row in rows) and len(rows) > 2:
        yield from table([rows[0], *rows[2:]])
    elif rows[0].startswith("  ") and not rows[0].lstrip().startswith("- "):
        yield from ("::", "", *rows)
    elif rows[0].startswith(">>>"):
        yield from rows
    else:
        yield from harmless(paragraph).splitlines()


def table(rows: list[str]) -> Iterator[str]:
    """The rows of a Markdown table as a list-table."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in rows:
        cells = [harmless(cell.strip()) for cell in row.strip("|").split("|")]
        yield from (f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells))


def harmless(text: str) -> str:
    """`code` as ``code``; elsewhere *, |, _ and the backslash stand for themselves."""
    plain = re.split(r"`+([^`]+)`+", text)
    plain[::2] = [re.sub(r"([\\*|_])", r"\\\1", part) for part in plain[::2]]
    # a backslash and a space end a mark where no space follows, as in `size`², and are not shown
    plain[1::2] = [f"\\ ``{part}``\\ " for part in plain[1::2]]
    return "".join(plain)


# Formulas as MathML, which browsers draw by themselves.


MATHML = "{http://www.w3.org/1998/Math/MathML}"
ElementTree.register_namespace("", MATHML.strip("{}"))


def formula(translator: Any, node: nodes.Element, as_block: bool) -> None:
    try:
        math = marked(tex2mathml(node.astext(), as_block=as_block))
    except Exception as reason:
        raise SphinxError(f"{node.source}:{node.line}: {reason}: {node.astext()}") from reason
    translator.body.append(f'<div class="math">{math}</div>' if as_block else math)
    raise nodes.SkipNode


def marked(math: str) -> str:
    """docutils sets the index of a letter with a bar or a hat below it, not behind it, and log p without a space."""
    root = ElementTree.fromstring(math.replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em" />'))
    for both in [*root.iter(f"{MATHML}munderover")]:
        letter, index, mark = both
        if mark.text in {"ˉ", "ˆ", "~", "˜"}:
            both.clear()
            both.tag = f"{MATHML}msub"
            over = ElementTree.SubElement(both, f"{MATHML}mover", accent="true")
            over.extend((letter, mark))
            both.append(index)
    return ElementTree.tostring(root, encoding="unicode")


def inline(translator: Any, node: nodes.Element) -> None:
    formula(translator, node, as_block=False)


def block(translator: Any, node: nodes.Element) -> None:
    formula(translator, node, as_block=True)


LOADED = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|embed)\b[^>]*\bsrc\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b[^>]*\bhref\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|url\(\s*["']?(?:https?:)?//[^)]+\)|@import\s+["'](?:https?:)?//[^"']+"""
)
"""What a browser would fetch from another host; links to read are not."""


def offline(app: Sphinx, failure: Exception | None) -> None:
    """Fail if a page would load something from the network."""
    if failure is not None:
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in {".html", ".css", ".js"}:
            found = LOADED.search(path.read_text(encoding="utf-8"))
            if found:
                raise SphinxError(f"{path} loads from another host: {found[0][:200]}")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", docstring)
    app.connect("builder-inited", constants)
    app.connect("build-finished", offline)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
