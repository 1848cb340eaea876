"""Figures as words: the same dash for what is unknown, and the same minus, wherever they stand."""

from collections.abc import Mapping

NOTHING = "–"


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


def everything(n: int, failed: int) -> str:
    """Return how many were asked for: those that count and those that failed."""
    return figure(n + failed)
