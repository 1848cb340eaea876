"""The comparison for people: a table on the terminal, Markdown and JSON in the sweep's folder."""

import html
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.files import write_json, write_text
from mini_lima.report import measures
from mini_lima.report.comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table

MISSING = ["not run"]
MEASURE = "measure"
NAME, ENTRY = 14, 22
"""Characters of a terminal that a row's name and an entry want."""


def write_report(folder: Path, comparison: Comparison) -> None:
    """Write ``report.json`` and ``report.md``."""
    write_json(folder / "report.json", asdict(comparison))
    write_text(folder / "report.md", markdown(comparison))


def markdown(comparison: Comparison) -> str:
    """Return the tables as GitHub-flavoured Markdown, then the notes."""
    header = ["model", *comparison.columns]
    lines = [_row([_escaped(name) for name in header]), _row(["---"] * len(header))]
    for name, row in comparison.rows.items():
        entries = [_text(row.get(column, MISSING)) for column in comparison.columns]
        lines.append(_row([f"**{_escaped(name)}**", *entries]))
    lines += _tabulated(measures.texts(measures.others(comparison.measures)))
    lines += _tabulated(comparison.lines())
    notes = [*comparison.about_length, *comparison.notes]
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def _tabulated(rows: list[dict[str, str]]) -> list[str]:
    if not rows:
        return []
    header = [*rows[0]]
    body = [_row([_escaped(text) for text in row.values()]) for row in rows]
    return ["", _row(header), _row(["---"] * len(header)), *body]


def _row(entries: list[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _text(lines: list[str]) -> str:
    return "<br>".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def show(comparison: Comparison) -> None:
    """Print the table on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # Without a terminal there is no width to keep to, and wrapped figures are hard to read.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 100)
    for columns in _that_fit(comparison.columns, console.width - NAME):
        table = Table(show_lines=True)
        for column in ["model", *columns]:
            table.add_column(column, overflow="fold")
        for name, row in comparison.rows.items():
            table.add_row(name, *("\n".join(row.get(column, MISSING)) for column in columns))
        console.print(table)
    if others := measures.others(comparison.measures):
        for columns in _that_fit(comparison.columns, console.width - 2 * NAME):
            console.print(_side_by_side(others, columns))
    shown = comparison.lines(short=True)
    if shown:
        contrasts = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in shown[0]:
            if name != MEASURE:
                contrasts.add_column(name, no_wrap=name in ("difference", "verdict"))
        for measure, lines in groupby(shown, lambda line: line.pop(MEASURE, None)):
            if measure is not None:
                contrasts.add_row(f"{measure}:")
            for line in lines:
                contrasts.add_row(*line.values())
        console.print(contrasts)
    if left := len(comparison.contrasts) - len(shown):
        console.print(f"Contrasts of metrics that tell no difference are in report.md: {left}.")
    for note in [*comparison.about_length, *comparison.notes]:
        console.print(note)


def _that_fit(columns: Sequence[str], width: int) -> list[Sequence[str]]:
    """Return ``columns`` in parts, each of as many as have room in ``width``."""
    most = max(1, width // ENTRY)
    return [columns[start : start + most] for start in range(0, len(columns), most)]


def _side_by_side(lines: Sequence[measures.Line], columns: Sequence[str]) -> "Table":
    """Return the measures with the arms beside one another."""
    from rich.table import Table

    several = len({line.row for line in lines}) > 1
    table = Table()
    for column in ["measure", *["model"] * several, *columns]:
        table.add_column(column, overflow="fold")
    rows: dict[tuple[str, str], dict[str, list[str]]] = {}
    for line in lines:
        row = rows.setdefault((measures.titled(line.measured), line.row), {})
        told = measures.value_of(line.measured)
        if line.one_of > 1:
            told = f"seed {line.measured.seed}: {told}"
        counts = [
            f"n {line.measured.n}" + f", {line.measured.failed} failed" * bool(line.measured.failed)
        ]
        difference = measures.difference_of(line)
        row.setdefault(line.measured.arm, []).extend(
            [told, *counts, *([f"Δ {difference}"] if difference else [])]
        )
    for (measure, name), row in rows.items():
        table.add_row(
            measure, *[name] * several, *("\n".join(row.get(column, [])) for column in columns)
        )
    return table
