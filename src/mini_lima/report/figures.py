"""Figures as words: the same dash for what is unknown, and the same minus, wherever they stand."""

from collections.abc import Mapping
from typing import Any

NOTHING = "–"


def figure(value: object, digits: int = 1, sign: str = "") -> str:
    """Return a number with its digits; a dash for what is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING
    if isinstance(value, int):
        return f"{value:{sign},}".replace("-", "−")
    return f"{value:{sign},.{digits}f}".replace("-", "−")


def interval(found: Mapping[str, Any], sign: str = "", prefix: str = "") -> str:
    """Return the bounds in brackets; nothing where both are unknown."""
    low, high = found.get(f"{prefix}low"), found.get(f"{prefix}high")
    if low is None and high is None:
        return ""
    return f"[{figure(low, sign=sign)}, {figure(high, sign=sign)}]"


def duration(seconds: object) -> str:
    """Return seconds as people say them."""
    if not isinstance(seconds, int | float):
        return NOTHING
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(counts: Mapping[str, Any]) -> str:
    """Return what was counted, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name}: {number}" for name, number in ordered) or "none"


def everything(found: Mapping[str, Any]) -> str:
    """Return how many verdicts were asked for: those that were read and those that failed."""
    read, failed = found.get("n_total"), found.get("n_failed")
    return figure(None if read is None or failed is None else read + failed)
