"""HTML that is safe by construction: text becomes markup in `element` alone, and is escaped there.

Answers of models, data from teachers, names from configurations and messages of errors all end in
the page, and any of them may hold ``<script>``. Nothing that shows them has to think of it: what is
not `Html` already is text.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

from mini_lima.report.figures import NOTHING

LONGEST = 2000
"""Characters of a text in a cell of a table."""
MOST_BYTES = 60_000
"""Of a table's rows: a sweep of a thousand cells must still make a page that opens."""
MOST_ITEMS = 40
LONGEST_ITEM = 400
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
WITHOUT_END = ("line", "rect", "circle", "path", "polyline", "meta")


class Html(str):
    """Markup; any other string is text."""

    __slots__ = ()


def text(content: object) -> Html:
    """Escape ``content`` unless it is markup; what no document may hold becomes U+FFFD."""
    if isinstance(content, Html):
        return content
    return Html(escape(UNPRINTABLE.sub("\ufffd", str(content))))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; ``class_`` and ``stroke_width`` are written class and stroke-width."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in WITHOUT_END and not children:
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{together(children)}</{name}>")


def together(parts: Iterable[object], between: str = "") -> Html:
    """Join parts, of which those that are not markup are escaped."""
    return Html(text(between).join(map(text, parts)))


def section(anchor: str, title: str, *parts: object) -> Html:
    """Return a section of the page."""
    return element("section", element("h2", title), *parts, id=anchor)


def note(*parts: object) -> Html:
    """Return a paragraph that explains."""
    return element("p", *parts, class_="soft")


def missing(what: str) -> Html:
    """Return a paragraph that says what is not there."""
    return element("p", what, class_="missing")


def listed(items: Sequence[object], class_: str | None = None) -> Html:
    """Return a list; of a long one its beginning, and how much more there is."""
    if not items:
        return Html()
    shown = [element("li", shortened(item, LONGEST_ITEM)) for item in items[:MOST_ITEMS]]
    if len(items) > MOST_ITEMS:
        shown.append(element("li", f"… and {len(items) - MOST_ITEMS} more"))
    return element("ul", *shown, class_=class_)


def folded(summary: object, *parts: object) -> Html:
    """Return what is closed until a reader opens it."""
    return element("details", element("summary", summary), *parts)


def table(header: Sequence[object], rows: Sequence[Sequence[object]], label: str) -> Html:
    """Return a table that scrolls in a box of its own; a row's first entry is its name."""
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body: list[Html] = []
    size = 0
    for first, *rest in rows:
        entries = (element("td", shortened(entry)) for entry in rest)
        row = element("tr", element("th", shortened(first), scope="row"), *entries)
        size += len(row.encode())
        if body and size > MOST_BYTES:
            break
        body.append(row)
    box = element(
        "div",
        element("table", element("thead", head), element("tbody", *body)),
        class_="scroll",
        role="region",
        aria_label=label,
        tabindex=0,
    )
    if len(body) == len(rows):
        return box
    left = f"{len(rows) - len(body)} more rows are not shown; report.json has all cells."
    return together([box, missing(left)])


def telling(
    header: Sequence[object], rows: Sequence[Sequence[object]]
) -> tuple[list[object], list[list[object]]]:
    """Return header and rows without the columns in which nothing is known of any row."""
    kept = [number for number in range(len(header)) if {row[number] for row in rows} != {NOTHING}]
    return [header[n] for n in kept], [[row[n] for n in kept] for row in rows]


def lines(parts: Iterable[object]) -> Html:
    """Put parts below one another."""
    return together(element("div", part) for part in parts)


def shortened(content: object, most: int = LONGEST) -> Html:
    """Return text that is cut after ``most`` characters, and says so; markup stays whole."""
    if isinstance(content, Html):
        return content
    whole = str(content)
    return text(whole if len(whole) <= most else f"{whole[:most]} … ({len(whole):,} characters)")


def beside(*parts: object) -> Html:
    """Put parts beside one another where the screen is wide enough."""
    return element("div", *parts, class_="charts")


def captioned(picture: object, caption: object) -> Html:
    """Return a picture with its caption."""
    return element("figure", picture, element("figcaption", caption))
