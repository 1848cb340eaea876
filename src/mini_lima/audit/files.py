"""The files of a result folder as they are found: rows in lists and lines, and the leaderboard.

What stands for nothing is settled here: a tie is 1.5 or, in old files, 0; a verdict that failed is
null, NaN, -1 (as the library's cache has it) or a number that is no preference.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError, listed
from mini_lima.files import read_text
from mini_lima.files.tables import Malformed, read_json_rows
from mini_lima.models.rendering import question
from mini_lima.text import as_line

TIE, FAILED = 1.5, -1
NOTHING = ("", "nan", "null", "none", "-1", "-1.0")
HUGE = 1e15
"""Beyond any price or time; JSON's numbers have no bound of their own."""
LEADERBOARDS = ("leaderboard.csv", "leaderboard.json")
ALONE = " instruction alone"
"""Key of a row's instruction without its input: what the library draws the order by."""
KNOWN = {
    "win_rate",
    "standard_error",
    "n_total",
    "n_wins",
    "n_wins_base",
    "n_draws",
    "avg_length",
    "discrete_win_rate",
    "length_controlled_winrate",
}
"""Columns that make a table a leaderboard."""
NAMED = ("", "generator", "model", "name", "unnamed: 0", "index")
"""Titles of the column that says whose a row is, the likeliest first."""


def read_rows(path: Path, *, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Read a JSON list of objects, or JSON Lines, each with text or a value under ``needed``.

    Raises:
        UserError: with file and row, counted from 1.
    """
    found = list(read_json_rows(path))
    if not found:
        raise UserError(f"{path} holds no rows: a list of objects with {', '.join(needed)}")
    rows = []
    for each in found:
        row, place = each.value, f"{path}, {each.place}"
        if isinstance(row, Malformed):
            raise UserError(f"{place}: {row.detail}: was it cut off?")
        lacking = [name for name in needed if not isinstance(row, dict) or name not in row]
        if lacking:
            raise UserError(f"{place}: has no {' and no '.join(lacking)}")
        if not isinstance(row["instruction"], str | int | float):
            raise UserError(f"{place}: the instruction is not text")
        asked = str(row["instruction"])
        given = row.get("input")
        whole = question(asked, given if isinstance(given, str) else None)
        rows.append({**row, "instruction": whole, ALONE: asked})
    return rows


@dataclass(frozen=True)
class Standing:
    """A row of a leaderboard: whose, in which file, and the figures that are numbers."""

    file: str
    name: str
    is_reference: bool
    figures: dict[str, float]

    @property
    def is_ours(self) -> bool:
        """Whether Mini-LIMA wrote it, and not the library."""
        return self.file.endswith(".json")


def read_leaderboard(
    folder: Path, model: str, reference: str | None, swapped: bool
) -> tuple[Standing | None, list[str]]:
    """Return the model's row of the leaderboard in ``folder``, and what is to be said without it.

    A leaderboard with a single row is the run's, whatever name was given to it, and then about
    output 2, which is the reference's if ``swapped``.

    Raises:
        UserError: the file is no leaderboard.
    """
    path = next((folder / name for name in LEADERBOARDS if (folder / name).is_file()), None)
    if path is None:
        return None, ["there is no leaderboard to compare with"]
    rows = _read_table(path)
    if not any(KNOWN & figures.keys() for _, figures in rows):
        raise UserError(f"{path} is no leaderboard: it has no column win_rate")
    for name in (model, reference) if swapped and reference else (model,):
        named = [figures for each, figures in rows if each == name]
        if len(named) > 1:
            return None, [f"{path.name} has {len(named)} rows for {name}: none is compared"]
        if named:
            return Standing(path.name, name, name != model, named[0]), []
    if len(rows) > 1:
        names = ", ".join(listed([name or "no name" for name, _ in rows], 3))
        return None, [f"{path.name} has no row for {model}, only for {names}"]
    ((name, figures),) = rows
    return Standing(path.name, name, swapped, figures), []


def _read_table(path: Path) -> list[tuple[str, dict[str, float]]]:
    """Return the name and the figures of each row."""
    try:
        text = read_text(path)
        if path.suffix == ".json":
            row = json.loads(text)
            return [(name_of(row.get("generator", "model")), _figures(row))]
        rows = list(csv.reader(io.StringIO(text)))
    except (OSError, ValueError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a leaderboard: {error}") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise UserError(f"{path} is no leaderboard: it has no row below its header")
    header, *lines = [[cell.strip() for cell in row] for row in rows]
    titles = [title.lower() for title in header]
    column = next((titles.index(name) for name in NAMED if name in titles), None)
    if column is None and header[0] not in KNOWN:
        column = 0
    return [
        (
            "" if column is None or column >= len(line) else name_of(line[column]),
            _figures(dict(zip(header, line, strict=False))),
        )
        for line in lines
    ]


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what of ``row`` is a number."""
    found = {}
    for name, value in row.items():
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number):
            found[name] = number
    return found


def preference_of(value: object) -> float | None:
    """Return a preference from 1 to 2 as AlpacaEval's metric takes it; None for what it drops."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = TIE if value == 0 else value
    return float(number) if 1 <= number <= 2 else None


def is_nothing(value: object) -> bool:
    """Whether ``value`` stands for a verdict that failed: null, NaN, or the library cache's -1."""
    if isinstance(value, str):
        return value.strip().lower() in NOTHING
    return value is None or value == FAILED or value != value


def number_of(value: object) -> float | None:
    """Return ``value`` if it is a number that can be counted with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < HUGE else None


def name_of(value: object) -> str:
    """Return ``value`` as a name: one line that a terminal just shows, empty for none."""
    return as_line(text_of(value))


def text_of(value: object) -> str:
    """Return ``value`` as text that can be printed: lone surrogates are replaced."""
    text = "" if value is None or value != value else str(value)
    return text.encode(errors="replace").decode() if not text.isascii() else text


def commonest(names: Iterable[str]) -> str | None:
    """Return the name that occurs most, None if there is none."""
    return next((name for name, _ in Counter(names).most_common() if name), None)
