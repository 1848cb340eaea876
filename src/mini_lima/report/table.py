"""The comparison for people: a table on the terminal, Markdown and JSON in the sweep's folder."""

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
        lines.append(_row([f"**{name}**", *entries]))
    return "\n".join([*lines, "", *(f"{note}\n" for note in comparison.notes)])


def _row(entries: list[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _text(lines: list[str]) -> str:
    return "<br>".join(line.replace("|", "\\|") for line in lines)


def show(comparison: Comparison) -> None:
    """Print the table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_lines=True)
    for column in ["model", *comparison.columns]:
        table.add_column(column)
    for name, row in comparison.rows.items():
        entries = ["\n".join(row.get(column, MISSING)) for column in comparison.columns]
        table.add_row(name, *entries)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for note in comparison.notes:
        console.print(note)
