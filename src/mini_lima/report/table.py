"""The comparison for people: a table on the terminal, Markdown and JSON in the sweep's folder."""

import html
import sys
from dataclasses import asdict
from pathlib import Path

from mini_lima.files import write_json, write_text
from mini_lima.report.comparison import Comparison

MISSING = ["not run"]


def write_report(folder: Path, comparison: Comparison) -> None:
    """Write ``report.json`` and ``report.md``."""
    write_json(folder / "report.json", asdict(comparison))
    write_text(folder / "report.md", markdown(comparison))


def markdown(comparison: Comparison) -> str:
    """Return the table as GitHub-flavoured Markdown, then the notes."""
    header = ["model", *comparison.columns]
    lines = [_row(header), _row(["---"] * len(header))]
    for name, row in comparison.rows.items():
        entries = [_text(row.get(column, MISSING)) for column in comparison.columns]
        lines.append(_row([f"**{_escaped(name)}**", *entries]))
    if comparison.contrasts:
        contrasts = comparison.lines()
        lines += ["", _row([*contrasts[0]]), _row(["---"] * len(contrasts[0]))]
        lines += [_row([_escaped(text) for text in line.values()]) for line in contrasts]
    return "\n".join([*lines, "", *(f"{note}\n" for note in comparison.notes)])


def _row(entries: list[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _text(lines: list[str]) -> str:
    return "<br>".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def show(comparison: Comparison) -> None:
    """Print the table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_lines=True)
    for column in ["model", *comparison.columns]:
        table.add_column(column, overflow="fold")
    for name, row in comparison.rows.items():
        entries = ["\n".join(row.get(column, MISSING)) for column in comparison.columns]
        table.add_row(name, *entries)
    # Without a terminal there is no width to keep to, and wrapped figures are hard to read.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 100)
    console.print(table)
    if comparison.contrasts:
        contrasts = Table(*comparison.lines()[0])
        for line in comparison.lines():
            contrasts.add_row(*line.values())
        console.print(contrasts)
    for note in comparison.notes:
        console.print(note)
