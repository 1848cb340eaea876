"""The comparison for people: tables on the terminal, Markdown and JSON in the sweep's folder."""

import html
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.files import write_json, write_text
from mini_lima.report.comparison import Comparison
from mini_lima.report.figures import MEASURE, Cell, Table

if TYPE_CHECKING:
    from rich.console import Console

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
        line
        for number, table in enumerate(tables)
        if table.rows or not number
        for line in (
            "",
            _row(table.header),
            _row(["---"] * len(table.header)),
            *map(_row, table.rows),
        )
    ]
    return "\n".join([*lines[1:], "", *(f"{note}\n" for note in comparison.said)])


def _row(cells: Sequence[Cell]) -> str:
    return f"| {' | '.join('<br>'.join(map(_escaped, _lines(cell))) for cell in cells)} |"


def _lines(cell: Cell) -> list[str]:
    return list(cell) if isinstance(cell, list | tuple) else [str(cell)]


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def show(comparison: Comparison) -> None:
    """Print the tables on standard output."""
    from rich.console import Console

    # Without a terminal there is no width to keep to, and wrapped figures are hard to read.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 100)
    _print_in_parts(console, comparison.win_rates(), names=1)
    _print_in_parts(console, comparison.other_measures(), names=2)
    contrasts = comparison.contrast_table(short=True)
    if contrasts.rows:
        _print_contrasts(console, contrasts)
    if left := len(comparison.contrasts) - len(contrasts.rows):
        console.print(f"Contrasts of metrics that tell no difference are in report.md: {left}.")
    for note in comparison.said:
        console.print(note)


def _print_in_parts(console: "Console", table: Table, names: int) -> None:
    """Print as many columns beside one another as fit, each time after those of ``names``."""
    from rich.table import Table as RichTable

    most = max(1, (console.width - names * NAME) // ENTRY)
    for start in range(names, len(table.header) if table.rows else 0, most):
        part = RichTable(show_lines=True)
        columns = [*range(names), *range(start, min(start + most, len(table.header)))]
        for column in columns:
            part.add_column(table.header[column], overflow="fold")
        for row in table.rows:
            part.add_row(*("\n".join(_lines(row[column])) for column in columns))
        console.print(part)


def _print_contrasts(console: "Console", table: Table) -> None:
    """Print them below the name of their measure, if there are several."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    at = table.header.index(MEASURE) if MEASURE in table.header else None
    printed = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for name in table.header:
        if name != MEASURE:
            printed.add_column(name, no_wrap=name in ("difference", "verdict"))
    for measure, rows in groupby(table.rows, lambda row: at and row[at]):
        if measure is not None:
            printed.add_row(f"{measure}:")
        for row in rows:
            printed.add_row(*(str(cell) for n, cell in enumerate(row) if n != at))
    console.print(printed)
