"""Rows of the library's files, as they are found: lists and lines, and what stands for nothing."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError

Row = dict[str, Any]

TIE, FAILED = 1.5, -1
NOTHING = ("", "nan", "null", "none", "-1", "-1.0")
TELLING_DIGITS = 5
HUGE = 1e15
"""Beyond any price or time; JSON's numbers have no bound of their own."""


def read_rows(path: Path, *, needed: Sequence[str]) -> list[Row]:
    """Read a JSON list of objects, or JSON Lines, each with text or a value under ``needed``.

    Raises:
        UserError: with file and row, counted from 1.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is neither a JSON list nor JSON Lines: {error}; was it cut off?"
        ) from error
    rows = [rows] if isinstance(rows, dict) and "instruction" in rows else rows
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} holds no rows: a list of objects with {', '.join(needed)}")
    for number, row in enumerate(rows, start=1):
        lacking = [name for name in needed if not isinstance(row, dict) or name not in row]
        if lacking:
            raise UserError(f"{path}, row {number}: has no {' and no '.join(lacking)}")
        if not isinstance(row["instruction"], str | int | float):
            raise UserError(f"{path}, row {number}: the instruction is not text")
        row["instruction"] = str(row["instruction"])
    return rows


def preference(value: object) -> float | None:
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
    return value is None or value == FAILED or (isinstance(value, float) and math.isnan(value))


def number_of(value: object) -> float | None:
    """Return ``value`` if it is a number that can be counted with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < HUGE else None


def moment_of(row: Row) -> float | str | None:
    """Return what tells a row's batch from all others: its time, if that is not rounded, or date.

    Times of several digits do not repeat by chance; those of a clock in tenths do.
    """
    time: float | None = row["time_per_example"]
    if time is not None and len(f"{time:.10f}".strip("0.")) >= TELLING_DIGITS:
        return time
    date: str | None = row["date"]
    return date


def name_of(value: object) -> str:
    """Return ``value`` as a name: one line that a terminal just shows, empty for none."""
    return " ".join("".join(c if c.isprintable() else " " for c in text_of(value)).split())


def commonest(names: Iterable[str]) -> str | None:
    """Return the name that occurs most, None if there is none."""
    return next((name for name, _ in Counter(names).most_common() if name), None)


def text_of(value: object) -> str:
    """Return ``value`` as text that can be printed: lone surrogates are replaced."""
    text = "" if value is None or value != value else str(value)
    return text.encode(errors="replace").decode() if not text.isascii() else text
