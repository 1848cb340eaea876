"""How much of a win rate is length: what must be known before a data set is called better.

Annotators prefer longer answers, and an arm that lengthens outputs wins with them whether it
teaches anything or not. Three views: the win rate among pairs of about the same length; the
verdicts of an annotator that looks at length alone (`under_longest`, for the statistics that the
real verdicts go through); and AlpacaEval's regression, in `length_controlled`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from mini_lima.measured import LONGEST
from mini_lima.statistics import WinRate, tabulate, win_rate

Row = Mapping[str, Any]

SAME_LENGTH = 1.25
"""Ratio of two lengths up to which they are about the same: a quarter more is not yet longer."""


@dataclass(frozen=True)
class Lengths:
    """Lengths in characters, and the win rate where they hardly differ.

    ``n_matched`` of the ``n`` pairs have lengths within the factor ``ratio`` of each other.
    """

    average: float
    median: float
    average_reference: float
    median_reference: float
    n: int
    ratio: float
    n_matched: int
    win_rate_matched: WinRate


def lengths(
    rows: Sequence[Row],
    *,
    seed: int,
    ratio: float = SAME_LENGTH,
    confidence: float = 0.95,
    samples: int = 10_000,
) -> Lengths:
    """Describe the lengths of the pairs behind ``rows``, verdicts with ``output_1`` and ``_2``.

    Raises:
        ValueError: no rows, or a ratio below 1.
    """
    if not rows or ratio < 1:
        raise ValueError(f"no lengths to compare in {len(rows)} verdicts within a factor {ratio}")
    pairs = {_pair(row) for row in rows}
    model = [len(output) for _, _, output in pairs]
    reference = [len(output) for _, output, _ in pairs]
    matched = {pair for pair in pairs if _same_length(pair, ratio)}
    verdicts = tabulate([row for row in rows if _pair(row) in matched])
    return Lengths(
        average=fmean(model),
        median=median(model),
        average_reference=fmean(reference),
        median_reference=median(reference),
        n=len(pairs),
        ratio=ratio,
        n_matched=len(matched),
        win_rate_matched=win_rate(verdicts, seed=seed, confidence=confidence, samples=samples),
    )


def under_longest(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the verdicts of an annotator that prefers the output with more characters.

    One per pair of outputs and training seed, for it knows no order and no moods; equal lengths are
    a tie.
    """
    return [
        {
            "instruction": instruction,
            "seed": seed,
            "output_1": reference,
            "output_2": model,
            "annotator": LONGEST,
            "model_first": None,
            "preference": _longer(len(reference), len(model)),
        }
        for seed, (instruction, reference, model) in dict.fromkeys(
            (row.get("seed"), _pair(row)) for row in rows
        )
    ]


def _pair(row: Row) -> tuple[str, str, str]:
    return row["instruction"], row["output_1"], row["output_2"]


def _same_length(pair: tuple[str, str, str], ratio: float) -> bool:
    _, reference, model = pair
    short, long = sorted((len(reference), len(model)))
    return long <= ratio * short


def _longer(first: int, second: int) -> float:
    return 1.5 if first == second else 1.0 if first > second else 2.0
