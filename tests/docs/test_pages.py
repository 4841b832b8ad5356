"""The tutorial's pages and some guides run: their code, what they say it prints, the rows of `verify`, the links."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from pushforward.verification import CHECKS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "tutorial").glob("t*.md"))
IDS = [page.stem for page in PAGES]
GUIDES = [DOCS / f"{name}.md" for name in ("inverse-problems", "mri", "ct", "constraints", "tours", "predict")]
"""Guides whose code runs too."""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


class Block(NamedTuple):
    """Code, the line it starts in, and what is said to be printed by it, if anything is."""

    code: str
    line: int
    shown: str | None


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, each with the block of text that follows it at once."""
    fences = list(FENCE.finditer(text))
    found = []
    for fence, after in itertools.zip_longest(fences, fences[1:]):
        if fence[1] == "python":
            follows = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
            line = text[: fence.start(2)].count("\n") + 1
            found.append(Block(fence[2], line, after[2] if follows else None))
    return found


def agree(printed: str, shown: str) -> bool:
    """Equal but for one unit in the last printed place of each number: rounding differs between machines."""
    ours, theirs = (NUMBER.split(text.strip()) for text in (printed, shown))
    if [part.split() for part in ours] != [part.split() for part in theirs]:
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    return all(abs(float(a) - float(b)) <= 1.01 * unit(b) for a, b in pairs)


def unit(number: str) -> float:
    """The last printed place; 0 for integers, which must be equal."""
    mantissa, _, exponent = number.partition("e")
    digits = len(mantissa.partition(".")[2])
    return 0.0 if not digits and not exponent else 10.0 ** (int(exponent or 0) - digits)


def run(block: Block, page: Path, names: dict[str, object]) -> str:
    """What the block prints. An error in it is shown at its line of the page."""
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=[*IDS, *(page.stem for page in GUIDES)])
def test_code_runs_and_prints_what_is_shown(page):
    names: dict[str, object] = {"__name__": page.stem}
    found = blocks(page.read_text(encoding="utf-8"))
    assert found
    for block in found:
        printed = run(block, page, names)
        assert block.shown is not None or not printed, f"line {block.line}: what is printed is not on the page"
        assert block.shown is None or agree(printed, block.shown), f"line {block.line} prints\n{printed}"


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=[*IDS, *(page.stem for page in GUIDES)])
def test_claims_are_asserted(page):
    """A page's numbers are not only shown: what they mean is asserted beside them."""
    text = page.read_text(encoding="utf-8")
    assert any(line.startswith("assert ") for block in blocks(text) for line in block.code.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_rows_of_verify_exist(page):
    section = page.read_text(encoding="utf-8").partition("\n## Checked by\n")[2].partition("\n## ")[0]
    named = re.findall(r"^- (.+)$", section, re.MULTILINE)
    assert named
    assert set(named) <= {check.name for check in CHECKS}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_formulas_have_braces(page):
    """What draws them offline reads the first of two bare arguments as both: `frac12 E` becomes 12/E."""
    assert re.findall(r"\\(?:t?frac|sqrt) ?[^{\s]", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_every_page_is_reached_from_the_index():
    index = (DOCS / "tutorial" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f"]({page.name})" not in index] == []


def test_what_builds_the_pages_is_pinned():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split("[<>=]", name)[0] for name in project["optional-dependencies"]["docs"]}
    pins = (DOCS.parent / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
    assert needed <= {line.split("==")[0] for line in pins}


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("a 1.234\n", "a 1.235", True),
        ("a 1.234", "a 1.236", False),
        ("n 12", "n 13", False),
        ("a 1.2e-05", "a 1.3e-05", True),
        ("a 1.0", "b 1.0", False),
        ("1.0 2.0", "1.0", False),
    ],
)
def test_printed_and_shown(printed, shown, same):
    assert agree(printed, shown) is same
