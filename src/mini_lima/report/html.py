"""HTML from templates: every text is escaped, cut where it is too long, and can be in a document.

Answers of models, data from teachers, names from configurations and messages of errors all end in
a page, and any of them may hold ``<script>``. Nothing that shows them has to think of it.
"""

import re
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mini_lima.report.figures import Cell, Table

COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#101418"),
    "raised": ("#f5f7f9", "#1a2027"),
    "line": ("#d5dbe1", "#3a424b"),
    "soft": ("#565e67", "#a0a9b3"),
    "ink": ("#1c2024", "#e8ecf0"),
    "link": ("#0a58b5", "#7db8ff"),
    "alarm": ("#a8201a", "#ff8f87"),
    "good": ("#1a6b34", "#6fd08c"),
    "baseline": ("#5b6570", "#aab4be"),
    "naive": ("#b3470a", "#ff9d5c"),
    "improved": ("#0a66c2", "#6cb2ff"),
    "other": ("#7a3fa0", "#cf9bf0"),
    "other-2": ("#1a6b35", "#6fd08d"),
    "other-3": ("#8a5a00", "#e0b040"),
    "other-4": ("#a01a5e", "#ff8fc0"),
}
"""In the light and in the dark scheme, with a contrast of at least 4.5 to 1 to the paper."""
LONGEST = 2000
"""Characters of a text in a cell of a table."""
MOST_BYTES = 60_000
"""Of a table's rows: a sweep of a thousand cells must still make a page that opens."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def render(template: str, **context: object) -> str:
    """Return the document that ``template`` makes of ``context``."""
    environment = Environment(
        loader=PackageLoader("mini_lima", "assets/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shortened": shortened, "that_fit": that_fit}
    return environment.get_template(template).render(colours=COLOURS, **context)


def printable(content: object) -> str:
    """Return text in which what no document may hold is U+FFFD; markup stays what it is."""
    if isinstance(content, Markup):
        return content
    return UNPRINTABLE.sub("\ufffd", str(content))


def shortened(content: object, most: int = LONGEST) -> str:
    """Return text that is cut after ``most`` characters, and says so."""
    whole = printable(content)
    return whole if len(whole) <= most else f"{whole[:most]} … ({len(whole):,} characters)"


def that_fit(table: Table) -> list[Sequence[Cell]]:
    """Return the first rows of ``table``, as many as have room in `MOST_BYTES`."""
    size = 0
    for number, row in enumerate(table.rows):
        size += sum(len(escape(shortened(cell)).encode()) for cell in row)
        if number and size > MOST_BYTES:
            return list(table.rows[:number])
    return list(table.rows)
