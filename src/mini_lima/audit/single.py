"""The audit of one result folder: everything that its files can tell about its win rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.audit.checks import (
    Health,
    Missing,
    Parts,
    Readings,
    Reuse,
    health,
    missing,
    readings,
    reuse,
    taken_apart,
    usage,
)
from mini_lima.audit.folder import Folder
from mini_lima.audit.leaderboard import Comparison, compared
from mini_lima.audit.order import Order, find_order
from mini_lima.audit.rows import Row, text_of
from mini_lima.evaluation.length import Lengths, length_controlled, lengths
from mini_lima.measured import Consistency, LengthControlled, VarianceSplit, WinRate
from mini_lima.statistics import consistency, split_variance, tabulate, win_rate


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
    settings: dict[str, Any] = {"seed": seed, "confidence": confidence, "samples": samples}
    order, firsts = find_order(folder.rows, folder.swapped)
    rows = [
        # Equal outputs are a tie that nobody was asked about.
        {**row, "model_first": None if _are_equal(row) else first}
        for row, first in zip(folder.rows, firsts, strict=True)
    ]
    verdicts = tabulate(rows)
    first, second = (
        verdicts.only(verdicts.model_first == 1),
        verdicts.only(verdicts.model_first == 0),
    )
    found = win_rate(verdicts, **settings)
    paired = [row for row in rows if None not in (row["output_1"], row["output_2"])]
    answers, references = (
        outputs.texts if outputs and not outputs.differs(rows, column) else _outputs(rows, column)
        for outputs, column in (
            (folder.model_outputs, "output_2"),
            (folder.reference_outputs, "output_1"),
        )
    )
    one_judge = len(verdicts.annotators) == 1
    return Audit(
        folder=text_of(folder.path),
        model=folder.model,
        reference=folder.reference,
        annotators=list(verdicts.annotators),
        n_instructions=len(verdicts.instructions),
        found=found,
        is_incomplete=found.is_incomplete(),
        stated=_compared(folder, rows, answers, found),
        stated_in=folder.standing.file if folder.standing else None,
        order=order,
        consistency=consistency(verdicts, **settings),
        model_first=win_rate(first, **settings) if len(first.win) else None,
        model_second=win_rate(second, **settings) if len(second.win) else None,
        variance=split_variance(verdicts) if one_judge else None,
        missing=missing(rows, seed=seed, samples=samples),
        usage=usage(rows),
        parts=taken_apart(rows, **settings),
        reuse=reuse(rows),
        readings=readings(rows),
        lengths=lengths(paired, **settings) if paired else None,
        length_controlled=length_controlled(
            _in_order(rows, folder), difficulties, seed=seed, confidence=confidence
        ),
        length_controlled_stated=folder.standing.figures.get("length_controlled_winrate")
        if folder.standing
        else None,
        health=health(answers) if answers else None,
        health_of_reference=health(references) if references else None,
        remarks=folder.remarks,
    )


def _compared(
    folder: Folder, rows: Sequence[Row], answers: Sequence[str], found: WinRate
) -> list[Comparison]:
    if folder.standing is None:
        return []
    of_reference = folder.standing.is_reference
    preferences = [
        3 - row["preference"] if of_reference and row["preference"] else row["preference"]
        for row in rows
    ]
    characters = [] if of_reference else [len(answer) for answer in answers]
    return compared(folder.standing, preferences, characters, found.standard_error)


def _in_order(rows: Sequence[Row], folder: Folder) -> list[Row]:
    """Return ``rows`` in the order of the answers, in which none is missing."""
    answers = folder.model_outputs.pairs if folder.model_outputs else []
    place = {instruction: k for k, (instruction, _) in enumerate(answers)}
    return sorted(rows, key=lambda row: place.get(row["instruction"], len(place)))


def _are_equal(row: Row) -> bool:
    return row["output_1"] is not None and row["output_1"] == row["output_2"]


def _outputs(rows: Sequence[Row], column: str) -> list[str]:
    """Return the outputs that the verdicts are on, one per instruction and text."""
    return [
        o for _, o in dict.fromkeys((r["instruction"], r[column]) for r in rows) if o is not None
    ]
