"""Figures as words, and tables of them: the same dash and the same minus wherever they stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOTHING = "–"
MEASURE = "measure"
"""The column of a table that says what was measured."""


@dataclass(frozen=True)
class Word:
    """A word with a look: ``good``, ``bad`` or none."""

    text: str
    look: str | None

    def __str__(self) -> str:
        """The word alone."""
        return self.text


Cell = str | Word | Sequence[str]
"""Several texts stand below one another."""


@dataclass(frozen=True)
class Table:
    """What a row is about stands in its first cell."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def without_empty_columns(self) -> "Table":
        """Leave out the columns in which nothing is known of any row."""
        known = [n for n in range(len(self.header)) if any(row[n] != NOTHING for row in self.rows)]
        rows = [[row[n] for n in known] for row in self.rows]
        return Table(self.title, [self.header[n] for n in known], rows)


def figure(value: object, digits: int = 1, sign: str = "") -> str:
    """Return a number with its digits; a dash for what is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING
    if isinstance(value, int):
        return f"{value:{sign},}".replace("-", "−")
    return f"{value:{sign},.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None, sign: str = "", *, always: bool = False) -> str:
    """Return the bounds in brackets; nothing where both are unknown, or dashes if ``always``."""
    if low is None and high is None and not always:
        return ""
    ends = (None if end is None else float(end) for end in (low, high))
    return f"[{', '.join(figure(end, sign=sign) for end in ends)}]"


def with_interval(
    value: float | None, low: float | None, high: float | None, sign: str = ""
) -> str:
    """Return a number with its interval where that is known."""
    return f"{figure(value, sign=sign)} {interval(low, high, sign)}".strip()


def duration(seconds: object) -> str:
    """Return seconds as people say them."""
    if not isinstance(seconds, int | float):
        return NOTHING
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(counts: Mapping[str, int]) -> str:
    """Return what was counted, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name}: {number}" for name, number in ordered) or "none"


def failed_of_all(n: int, failed: int) -> str:
    """Return how many of those that were asked for failed; ``n`` did not."""
    return f"{figure(failed)} of {figure(n + failed)}"
