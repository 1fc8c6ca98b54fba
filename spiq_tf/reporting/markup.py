"""HTML and SVG, put together so that text is always escaped."""

import html
from typing import TypeAlias

_EMPTY = frozenset({"meta", "path", "rect"})  # elements of which the page uses none with content


class Markup(str):
    """Text that is HTML already; any other string becomes it by escaping."""


Content: TypeAlias = "str | Markup | None"


def tag(name: str, /, *content: Content, **attributes: str | int | None) -> Markup:
    """An element; None among content and attributes is left out, "_" in an attribute's name is "-", at its end nothing
    (class_)."""
    rendered = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{rendered}/>")
    return Markup(f"<{name}{rendered}>{join(*content)}</{name}>")


def join(*content: Content) -> Markup:
    """One after the other."""
    return Markup("".join(each if isinstance(each, Markup) else html.escape(each) for each in content if each))


def table(head: tuple[str, ...], rows: list[tuple[Content, ...]], class_: str | None = None) -> Markup:
    """A table in a box that scrolls sideways where the page is too narrow."""
    top = tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head)))
    body = tag("tbody", *(tag("tr", *(tag("td", each) for each in row)) for row in rows))
    return tag("div", tag("table", top, body, class_=class_), class_="scroll")
