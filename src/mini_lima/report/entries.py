"""A place of the table in words: a win rate with all that qualifies it, or why there is none."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from mini_lima.report import figures
from mini_lima.report.groups import Group


def entry_of(group: Group, together: dict[str, Any] | None) -> list[str]:
    """Return the lines of ``group``: one cell's, or what its seeds come to.

    Args:
        group: The cells of the place.
        together: Their common figures, as `Comparison.seeds` has them. None where the verdicts are
            not to be had: then several seeds have a mean and a spread, and no interval.
    """
    finished = group.finished
    missing = [f"seed {n}: {_why(cell)}" for n, cell in group.cells.items() if n not in finished]
    if not finished:
        (first, *_), one = group.cells.values(), len(group.cells) == 1
        return [first["status"], *_what_became_of(first)] if one else ["0 seeds finished", *missing]
    results = [cell["result"] for cell in finished.values()]
    if len(results) > 1:
        lines = _over_seeds([each["sft"] for each in results], together or _apart(results))
    else:
        lines = [*entry(results[0]["sft"]), _difference(results[0]["sft_minus_baseline"])]
    if missing:
        lines.insert(1, f"{len(finished)} of {len(group.cells)} seeds; {'; '.join(missing)}")
    return lines


def entry(found: dict[str, Any]) -> list[str]:
    """Return the lines of one model's answers."""
    health = found["health"]
    incomplete = " – incomplete" if found.get("incomplete") else ""
    return [
        f"{figure(found['win_rate'])} {interval(found)}{incomplete}",
        f"{found['avg_length']:.0f} chars, {health['cut_at_limit']} cut",
        f"n {found['n_total']}, {found['n_failed']} failed",
        *_length_controlled(found.get("length_controlled") or {}),
    ]


def interval(found: dict[str, Any], sign: str = "") -> str:
    """Return the bounds in brackets."""
    return f"[{figure(found['low'], sign)}, {figure(found['high'], sign)}]"


def figure(value: float | None, sign: str = "") -> str:
    """Return a number with one digit after the point; a dash for what is not known."""
    return figures.figure(None if value is None else float(value), sign=sign)


def _over_seeds(found: Sequence[dict[str, Any]], together: dict[str, Any]) -> list[str]:
    incomplete = " – incomplete" if any(each.get("incomplete") for each in found) else ""
    cut = sum(each["health"]["cut_at_limit"] for each in found)
    lines = [
        f"{figure(together['win_rate'])} {interval(together)}{incomplete}",
        f"sd {figure(together['spread'])} between {len(found)} seeds",
        f"{mean(each['avg_length'] for each in found):.0f} chars, {cut} cut",
        f"n {together['n_total']}, {together['n_failed']} failed",
    ]
    rates = [(each.get("length_controlled") or {}).get("win_rate") for each in found]
    if (controlled := _mean(rates)) is not None:
        lines.append(f"length-controlled {figure(controlled)}")
    return [*lines, _difference(together["difference"])]


def _apart(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What can be said of several seeds without their verdicts."""
    rates = [each["sft"]["win_rate"] for each in results]
    differences = [each["sft_minus_baseline"]["difference"] for each in results]
    return {
        "win_rate": _mean(rates),
        "spread": None if None in rates else stdev(rates),
        "low": None,
        "high": None,
        "n_total": sum(each["sft"]["n_total"] for each in results),
        "n_failed": sum(each["sft"]["n_failed"] for each in results),
        "difference": {"difference": _mean(differences), "low": None, "high": None},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def _why(cell: dict[str, Any]) -> str:
    return ": ".join([cell["status"], *_what_became_of(cell)])


def _what_became_of(cell: dict[str, Any]) -> list[str]:
    """Return why a cell is not finished, and where that can be read."""
    reason = str(cell.get("reason", "killed, or still running")).splitlines()[:2]
    log = cell.get("log")
    return [*reason, f"log: {log}"] if log and log not in "".join(reason) else reason


def _length_controlled(found: dict[str, Any]) -> list[str]:
    if found.get("win_rate") is None:
        return []
    return [f"length-controlled {figure(found['win_rate'])} {interval(found)}"]


def _difference(found: dict[str, Any]) -> str:
    return f"Δ {figure(found['difference'], '+')} {interval(found, '+')}"
