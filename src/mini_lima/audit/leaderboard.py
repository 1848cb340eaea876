"""The leaderboard that came with the annotations, and whether it follows from them."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.audit.rows import name_of
from mini_lima.errors import UserError

NAMES = ("leaderboard.csv", "leaderboard.json")
TOLERANCE = 1e-8
"""Ours and the library's agree to 1e-9 percent; its files keep 10 decimals of a preference."""

FEW_DECIMALS = 6
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


@dataclass(frozen=True)
class Comparison:
    """A figure of the leaderboard beside the same computed from the annotations."""

    figure: str
    stated: float
    recomputed: float | None
    agrees: bool


def read_leaderboard(
    folder: Path, model: str, reference: str | None, swapped: bool
) -> tuple[Standing | None, list[str]]:
    """Return the model's row of the leaderboard in ``folder``, and what is to be said without it.

    A leaderboard with a single row is the run's, whatever name was given to it, and then about
    output 2, which is the reference's if ``swapped``.

    Raises:
        UserError: the file is no leaderboard.
    """
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        return None, ["there is no leaderboard to compare with"]
    rows = _read(path)
    if not any(KNOWN & figures.keys() for _, figures in rows):
        raise UserError(f"{path} is no leaderboard: it has no column win_rate")
    for name in (model, reference) if swapped and reference else (model,):
        named = [figures for each, figures in rows if each == name]
        if len(named) > 1:
            return None, [f"{path.name} has {len(named)} rows for {name}: none is compared"]
        if named:
            return Standing(path.name, name, name != model, named[0]), []
    if len(rows) > 1:
        names = ", ".join(name or "no name" for name, _ in rows)
        return None, [f"{path.name} has no row for {model}, only for {names}"]
    ((name, figures),) = rows
    return Standing(path.name, name, swapped, figures), []


def compared(
    standing: Standing,
    preferences: Sequence[float | None],
    lengths: Sequence[int],
    clustered_error: float | None,
) -> list[Comparison]:
    """Compute the leaderboard's figures again, as ``alpaca_eval.metrics.get_winrate`` does.

    Args:
        standing: The row.
        preferences: All verdicts, 2 for the one whose row it is; None is left out, as there.
        lengths: Characters of its outputs, of which ``avg_length`` is the truncated mean.
        clustered_error: The standard error with instructions as clusters, which our own
            leaderboards state; the library takes every verdict for a new instruction.
    """
    read = [p for p in preferences if p is not None]
    n = len(read)
    ties, won = read.count(1.5), sum(p > 1.5 for p in read)
    recomputed: dict[str, float | None] = {}
    if n:
        mean = sum(read) / n - 1
        recomputed["win_rate"] = 100 * mean
    if n > 1:
        squares = math.fsum((p - 1 - mean) ** 2 for p in read)
        error = 100 * math.sqrt(squares / (n - 1) / n)
        recomputed["standard_error"] = clustered_error if standing.is_ours else error
    recomputed |= {"n_wins": won, "n_wins_base": n - ties - won, "n_draws": ties, "n_total": n}
    if n:
        recomputed["discrete_win_rate"] = 100 * (won + ties / 2) / n
    if lengths:
        recomputed["avg_length"] = int(sum(lengths) / len(lengths))
    # A weight within 1e-10 of a tie was a win or a loss to the library, and is a tie in its file.
    rounded = ties if any(p not in (1, 1.5, 2) for p in read) else 0
    slack = dict.fromkeys(("n_wins", "n_wins_base", "n_draws"), float(rounded))
    slack["discrete_win_rate"] = 50 * rounded / max(n, 1)
    # A leaderboard of ours has the mean, not its whole part.
    slack["avg_length"] = 1.0 if standing.is_ours else 0.0
    return [
        Comparison(
            figure,
            stated=standing.figures[figure],
            recomputed=ours,
            agrees=ours is not None
            and (
                abs(standing.figures[figure] - ours) <= TOLERANCE + slack.get(figure, 0.0)
                or _is_rounded(standing.figures[figure], ours)
            ),
        )
        for figure, ours in recomputed.items()
        if figure in standing.figures
    ]


def _read(path: Path) -> list[tuple[str, dict[str, float]]]:
    """Return the name and the figures of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
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
    column = next((k for name in NAMED if (k := _index(header, name)) is not None), None)
    if column is None and header[0] not in KNOWN:
        column = 0
    return [
        (
            "" if column is None or column >= len(line) else name_of(line[column]),
            _figures(dict(zip(header, line, strict=False))),
        )
        for line in lines
    ]


def _index(header: Sequence[str], name: str) -> int | None:
    """Return the column whose title is ``name``, None if there is none."""
    return next((k for k, title in enumerate(header) if title.lower() == name), None)


def _is_rounded(stated: float, ours: float) -> bool:
    """Whether ``stated`` is ``ours`` as people write it: to a few decimals."""
    decimals = len(f"{stated!r}".partition(".")[2])
    return decimals <= FEW_DECIMALS and round(ours, decimals) == stated


def _figures(row: dict[str, Any]) -> dict[str, float]:
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
