"""A place of the table in words: a win rate with all that qualifies it, or why there is none."""

from collections.abc import Sequence
from statistics import mean, stdev

from mini_lima.report.figures import figure, interval
from mini_lima.report.groups import Group
from mini_lima.results import (
    CellRecord,
    Health,
    Judged,
    LengthControlled,
    Measurement,
    OverSeeds,
    PairedDifference,
    Result,
    Together,
)

UNKNOWN = PairedDifference(None, None, None, 0)


def entry_of(group: Group, together: Together | None) -> list[str]:
    """Return the lines of ``group``: one cell's, or what its seeds come to.

    Args:
        group: The cells of the place.
        together: What their seeds come to by the first judge. None where the verdicts are not to be
            had: then several seeds have a mean and a spread, and no interval.
    """
    finished = group.finished
    missing = [f"seed {n}: {_why(cell)}" for n, cell in group.cells.items() if n not in finished]
    if not finished:
        (first, *_), one = group.cells.values(), len(group.cells) == 1
        return [_status(first), *_what_became_of(first)] if one else ["0 seeds finished", *missing]
    results = [cell.result for cell in finished.values() if cell.result]
    if len(results) > 1:
        lines = _over_seeds(results, together)
    else:
        (result,) = results
        lines = entry(judged_by_the_first(result, "sft"), result.health["sft"])
        if result.judges:
            lines.append(_difference(result.differences[result.judges[0].measure]))
    if missing:
        lines.insert(1, f"{len(finished)} of {len(group.cells)} seeds; {'; '.join(missing)}")
    return lines


def judged_by_the_first(result: Result, which: str) -> Judged | None:
    """What the first judge made of one model's answers; None where nobody judges."""
    return getattr(result.judges[0], which) if result.judges else None


def entry(found: Judged | None, health: Health) -> list[str]:
    """Return the lines of one model's answers."""
    if found is None:
        return [
            "no judge",
            f"{health.mean_length_characters:.0f} chars, {health.cut} cut",
            f"n {health.n}",
        ]
    incomplete = " – incomplete" if found.incomplete else ""
    return [
        f"{figure(found.win_rate)} {bounds(found)}{incomplete}",
        f"{found.avg_length:.0f} chars, {health.cut} cut",
        f"n {found.n_total}, {found.n_failed} failed",
        *_length_controlled(found.length_controlled),
    ]


def bounds(
    found: Judged | OverSeeds | PairedDifference | LengthControlled | Measurement, sign: str = ""
) -> str:
    """Return the interval in brackets, with dashes where it is not known."""
    return interval(found.low, found.high, sign, always=True)


def together_or_apart(results: Sequence[Result], together: Together | None) -> OverSeeds:
    """Return what seeds come to by the first judge, without an interval if nobody knows it."""
    if together is not None:
        return together.over
    judged = [found for each in results if (found := judged_by_the_first(each, "sft"))]
    rates = [each.win_rate for each in judged]
    known = [rate for rate in rates if rate is not None]
    return OverSeeds(
        values=dict(enumerate(rates)),
        value=_mean(rates),
        spread=stdev(known) if len(known) == len(rates) > 1 else None,
        low=None,
        high=None,
        n=sum(each.n_total for each in judged),
        failed=sum(each.n_failed for each in judged),
    )


def _over_seeds(results: Sequence[Result], together: Together | None) -> list[str]:
    cut = sum(each.health["sft"].cut for each in results)
    judged = [found for each in results if (found := judged_by_the_first(each, "sft"))]
    if not judged:
        length = mean(each.health["sft"].mean_length_characters for each in results)
        return [f"no judge, {len(results)} seeds", f"{length:.0f} chars, {cut} cut"]
    incomplete = " – incomplete" if any(each.incomplete for each in judged) else ""
    over = together_or_apart(results, together)
    lines = [
        f"{figure(over.value)} {bounds(over)}{incomplete}",
        f"sd {figure(over.spread)} between {len(results)} seeds",
        f"{mean(each.avg_length for each in judged):.0f} chars, {cut} cut",
        f"n {over.n}, {over.failed} failed",
    ]
    rates = [each.length_controlled.win_rate for each in judged]
    if (controlled := _mean(rates)) is not None:
        lines.append(f"length-controlled {figure(controlled)}")
    if together is not None:
        return [*lines, _difference(together.difference)]
    differences = [each.differences[each.judges[0].measure].difference for each in results]
    return [*lines, _difference(PairedDifference(_mean(differences), None, None, 0))]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) and known else None


def _status(cell: CellRecord) -> str:
    if cell.status == "finished" and cell.until:
        return f"stopped after {cell.until}"
    return cell.status


def _why(cell: CellRecord) -> str:
    return ": ".join([_status(cell), *_what_became_of(cell)])


def _what_became_of(cell: CellRecord) -> list[str]:
    """Return why a cell is not finished, and where that can be read."""
    if cell.status == "finished":
        return []
    reason = (cell.reason or "killed, or still running").splitlines()[:2]
    return [*reason, f"log: {cell.log}"] if cell.log and cell.log not in "".join(reason) else reason


def _length_controlled(found: LengthControlled) -> list[str]:
    if found.win_rate is None:
        return []
    return [f"length-controlled {figure(found.win_rate)} {bounds(found)}"]


def _difference(found: PairedDifference) -> str:
    return f"Δ {figure(found.difference, sign='+')} {bounds(found, '+')}"
