"""The comparison for people: tables on the terminal, Markdown and JSON in the sweep's folder."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.files import write_json, write_text
from mini_lima.report.comparison import Comparison
from mini_lima.report.figures import MEASURE, Cell, Table
from mini_lima.text import as_line, as_markdown, laid_out, say

if TYPE_CHECKING:
    from rich.table import Table as RichTable

NAME, ENTRY = 14, 22
"""Characters of a terminal that a row's name and an entry want."""


def write_report(folder: Path, comparison: Comparison) -> None:
    """Write ``report.json`` and ``report.md``."""
    write_json(folder / "report.json", asdict(comparison))
    write_text(folder / "report.md", markdown(comparison))


def markdown(comparison: Comparison) -> str:
    """Return the tables as GitHub-flavoured Markdown, then the notes."""
    tables = [comparison.win_rates(), comparison.other_measures(), comparison.contrast_table()]
    lines = [
        each
        for number, table in enumerate(tables)
        if table.rows or not number
        for each in (
            "",
            _row(table.header),
            "| --- " * len(table.header) + "|",
            *map(_row, table.rows),
        )
    ]
    return "\n".join([*lines[1:], "", *(f"{as_markdown(note)}\n" for note in comparison.said)])


def _row(cells: Sequence[Cell]) -> str:
    return f"| {' | '.join('<br>'.join(map(as_markdown, _lines(cell))) for cell in cells)} |"


def _lines(cell: Cell) -> list[str]:
    return list(cell) if isinstance(cell, list | tuple) else [str(cell)]


def show(comparison: Comparison) -> None:
    """Print the tables on standard output."""
    # Without a terminal there is no width to keep to, and wrapped figures are hard to read.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    contrasts = comparison.contrast_table(short=True)
    parts = [
        *_in_parts(width, comparison.win_rates(), names=1),
        *_in_parts(width, comparison.other_measures(), names=2),
        *([_of_contrasts(contrasts)] if contrasts.rows else []),
    ]
    notes = list(comparison.said)
    if left := len(comparison.contrasts) - len(contrasts.rows):
        notes.insert(0, f"Contrasts of metrics that tell no difference are in report.md: {left}.")
    say(laid_out(*parts, *notes, width=width))


def _in_parts(width: int, table: Table, names: int) -> Iterator["RichTable"]:
    """Yield as many columns beside one another as fit, each time after those of ``names``."""
    from rich.table import Table as RichTable

    most = max(1, (width - names * NAME) // ENTRY)
    for start in range(names, len(table.header) if table.rows else 0, most):
        part = RichTable(show_lines=True)
        columns = [*range(names), *range(start, min(start + most, len(table.header)))]
        for column in columns:
            part.add_column(as_line(table.header[column]), overflow="fold")
        for row in table.rows:
            part.add_row(*("\n".join(map(as_line, _lines(row[column]))) for column in columns))
        yield part


def _of_contrasts(table: Table) -> "RichTable":
    """They stand below the name of their measure, if there are several."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    at = table.header.index(MEASURE) if MEASURE in table.header else None
    printed = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for name in table.header:
        if name != MEASURE:
            printed.add_column(name, no_wrap=name in ("difference", "verdict"))
    for measure, rows in groupby(table.rows, lambda row: at and row[at]):
        if measure is not None:
            printed.add_row(as_line(f"{measure}:"))
        for row in rows:
            printed.add_row(*(as_line(cell) for n, cell in enumerate(row) if n != at))
    return printed
