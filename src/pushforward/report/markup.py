"""HTML that is safe by type: a plain string is escaped, `Html` passes as it is."""

from __future__ import annotations

from html import escape


class Html(str):
    """Markup that was built here and may be put on a page unescaped."""

    __slots__ = ()


def render(*content: str) -> Html:
    """The pieces one after the other; plain strings are escaped."""
    return Html("".join(piece if isinstance(piece, Html) else escape(piece) for piece in content))


def tag(name: str, *content: str, **attributes: str | None) -> Html:
    """An element with escaped content and attributes; `class_` is written `class`, and None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{render(*content)}</{name}>")
