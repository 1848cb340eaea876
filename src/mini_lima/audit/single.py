"""The audit of one result folder: everything that its files can tell about its win rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev

from mini_lima.audit.checks import (
    Health,
    Missing,
    Parts,
    Readings,
    Reuse,
    by_origin,
    health,
    missing,
    readings,
    reuse,
    usage,
)
from mini_lima.audit.files import Standing, text_of
from mini_lima.audit.folder import Folder, Outputs, Row
from mini_lima.audit.order import Order, find_order
from mini_lima.evaluation.length import Lengths, length_controlled, lengths
from mini_lima.results import Consistency, LengthControlled, VarianceSplit, WinRate
from mini_lima.statistics import Drawn, consistency, split_variance, tabulate, win_rate

TOLERANCE = 1e-8
"""Ours and the library's agree to 1e-9 percent; its files keep 10 decimals of a preference."""
FEW_DECIMALS = 6


@dataclass(frozen=True)
class Comparison:
    """A figure of the leaderboard beside the same computed from the annotations."""

    figure: str
    stated: float
    recomputed: float | None
    agrees: bool


@dataclass(frozen=True)
class Audit:
    """What was found in a folder; see the classes of the parts for units.

    ``stated`` compares the leaderboard's figures with ours; ``order`` says how the order was found
    that ``consistency`` and the two win rates by order rest on. Parts that the files do not allow
    are None.
    """

    folder: str
    model: str
    reference: str
    annotators: list[str]
    n_instructions: int
    found: WinRate
    is_incomplete: bool
    stated: list[Comparison]
    stated_in: str | None
    order: Order
    consistency: Consistency
    model_first: WinRate | None
    model_second: WinRate | None
    variance: VarianceSplit | None
    missing: Missing
    usage: dict[str, int]
    parts: list[Parts]
    reuse: Reuse
    readings: Readings | None
    lengths: Lengths | None
    length_controlled: LengthControlled
    length_controlled_stated: float | None
    health: Health | None
    health_of_reference: Health | None
    remarks: list[str]


def audit(
    folder: Folder,
    difficulties: Path | None = None,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    samples: int = 10_000,
) -> Audit:
    """Audit one folder.

    Args:
        folder: As `folder.read_folder` gives it.
        difficulties: AlpacaEval's ``df_gamed.csv``, for the length-controlled win rate.
        seed: Of the bootstrap and the permutations.
        confidence: Of the intervals.
        samples: Of the bootstrap and the permutations.
    """
    drawn: Drawn = {"seed": seed, "confidence": confidence, "samples": samples}
    order, rows = find_order(folder)
    rows = [replace(row, model_first=None) if row.nothing_to_judge else row for row in rows]
    verdicts = tabulate(rows)
    first = verdicts.only(verdicts.model_first == 1)
    second = verdicts.only(verdicts.model_first == 0)
    found = win_rate(verdicts, **drawn)
    paired = [row for row in rows if None not in (row.output_1, row.output_2)]
    answers = _texts(folder.model_outputs, rows, "output_2")
    references = _texts(folder.reference_outputs, rows, "output_1")
    standing = folder.standing
    return Audit(
        folder=text_of(folder.path),
        model=folder.model,
        reference=folder.reference,
        annotators=list(verdicts.annotators),
        n_instructions=len(verdicts.instructions),
        found=found,
        is_incomplete=found.is_incomplete(),
        stated=_compared(standing, rows, answers, found) if standing else [],
        stated_in=standing.file if standing else None,
        order=order,
        consistency=consistency(verdicts, **drawn),
        model_first=win_rate(first, **drawn) if len(first.win) else None,
        model_second=win_rate(second, **drawn) if len(second.win) else None,
        variance=split_variance(verdicts) if len(verdicts.annotators) == 1 else None,
        missing=missing(rows, seed=seed, samples=samples),
        usage=usage(rows),
        parts=by_origin(rows, **drawn),
        reuse=reuse(rows),
        readings=readings(rows),
        lengths=lengths(paired, **drawn) if paired else None,
        length_controlled=length_controlled(
            _in_order(rows, folder), difficulties, seed=seed, confidence=confidence
        ),
        length_controlled_stated=standing.figures.get("length_controlled_winrate")
        if standing
        else None,
        health=health(answers) if answers else None,
        health_of_reference=health(references) if references else None,
        remarks=folder.remarks,
    )


def _compared(
    standing: Standing, rows: Sequence[Row], answers: Sequence[str], found: WinRate
) -> list[Comparison]:
    """Compute the leaderboard's figures again, as ``alpaca_eval.metrics.get_winrate`` does.

    The library itself, which takes three seconds to import, gives the same.
    """
    read = [row.preference for row in rows if row.preference is not None]
    if standing.is_reference:
        read, answers = [3 - preference for preference in read], []
    n, ties, won = len(read), read.count(1.5), sum(p > 1.5 for p in read)
    recomputed: dict[str, float | None] = {}
    if n:
        recomputed["win_rate"] = 100 * (sum(read) / n - 1)
    if n > 1:
        # The library takes every verdict for a new instruction, our own leaderboards do not.
        recomputed["standard_error"] = (
            found.standard_error if standing.is_ours else 100 * stdev(read) / math.sqrt(n)
        )
    recomputed |= {"n_wins": won, "n_wins_base": n - ties - won, "n_draws": ties, "n_total": n}
    if n:
        recomputed["discrete_win_rate"] = 100 * (won + ties / 2) / n
    if answers:
        recomputed["avg_length"] = int(sum(map(len, answers)) / len(answers))
    # A weight within 1e-10 of a tie was a win or a loss to the library, and is a tie in its file.
    rounded = ties if any(p not in (1, 1.5, 2) for p in read) else 0
    slack = dict.fromkeys(("n_wins", "n_wins_base", "n_draws"), float(rounded))
    slack["discrete_win_rate"] = 50 * rounded / max(n, 1)
    # Our own leaderboards have the mean, not its whole part.
    slack["avg_length"] = 1.0 if standing.is_ours else 0.0

    def agrees(stated: float, ours: float | None, slack: float) -> bool:
        if ours is None:
            return False
        decimals = len(f"{stated!r}".partition(".")[2])
        is_rounded = decimals <= FEW_DECIMALS and round(ours, decimals) == stated
        return is_rounded or abs(stated - ours) <= TOLERANCE + slack

    return [
        Comparison(figure, stated, ours, agrees(stated, ours, slack.get(figure, 0.0)))
        for figure, ours in recomputed.items()
        if (stated := standing.figures.get(figure)) is not None
    ]


def _in_order(rows: Sequence[Row], folder: Folder) -> list[Row]:
    """Return ``rows`` in the order of the answers, in which none is missing."""
    answers = folder.model_outputs.pairs if folder.model_outputs else []
    place = {instruction: k for k, (instruction, _) in enumerate(answers)}
    return sorted(rows, key=lambda row: place.get(row.instruction, len(place)))


def _texts(outputs: Outputs | None, rows: Sequence[Row], column: str) -> list[str]:
    """Return what was judged: the file's outputs, or, if it has others, those of the rows."""
    if outputs and outputs.judged(rows) <= set(outputs.pairs):
        return outputs.texts
    judged = dict.fromkeys((row.instruction, getattr(row, column)) for row in rows)
    return [output for _, output in judged if output is not None]
