"""Verdict rows as columns: what all statistics are computed from.

A row is one verdict: on one instruction, in one order, one repeat, by one annotator. How many
there are of each need not be the same everywhere, for verdicts fail; so the table is long, a column
per property, and nothing has to be padded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on one model's outputs; every column has shape (verdicts,).

    Attributes:
        instruction: Number of the instruction. Verdicts on equal texts have the same number: they
            are evidence about one instruction, however often it stands in the set.
        model_first: 1 the model's output was shown first, 0 second, NaN nobody was asked (equal
            outputs are a tie) or nobody knows.
        annotator: Number of the annotator.
        win: The model's share of the win, from 0 to 1; NaN is a verdict that failed.
        instructions: Their texts, by number.
        annotators: Their names, by number.
    """

    instruction: Ints
    model_first: Floats
    annotator: Ints
    win: Floats
    instructions: tuple[str, ...]
    annotators: tuple[str, ...]

    def only(self, rows: NDArray[np.bool_]) -> "Verdicts":
        """Return the verdicts that ``rows``, a mask, picks; the numbers keep their meaning."""
        return replace(
            self,
            instruction=self.instruction[rows],
            model_first=self.model_first[rows],
            annotator=self.annotator[rows],
            win=self.win[rows],
        )

    def by_order(self, instructions: Sequence[str], *, failed_as: float = np.nan) -> Floats:
        """Return each instruction's mean win in each order, shape (instructions, 2): first, second.

        A verdict whose order is not known stands in both columns of an instruction that has no
        other; NaN is what was not judged.

        Args:
            instructions: Which, and in which order; those without a verdict are NaN.
            failed_as: The win to count for a verdict that failed; NaN leaves it out.
        """
        win = np.where(np.isnan(self.win), failed_as, self.win)
        read = ~np.isnan(win)
        means = np.full((len(self.instructions) + 1, 3), np.nan)
        for column, at in enumerate((self.model_first == 1, self.model_first == 0)):
            means[:-1, column] = self._means(win, read & at)
        means[:-1, 2] = self._means(win, read & np.isnan(self.model_first))
        unordered = np.isnan(means[:, :2]).all(axis=1)
        means[unordered, :2] = means[unordered, 2:]
        number = {text: k for k, text in enumerate(self.instructions)}
        found: Floats = means[[number.get(text, -1) for text in instructions], :2]
        return found

    def _means(self, win: Floats, rows: NDArray[np.bool_]) -> Floats:
        sums, counts = totals(win[rows], self.instruction[rows], len(self.instructions))
        return mean_of(sums, counts)


class Row(Protocol):
    """A row of annotations.json, as far as the statistics need it."""

    @property
    def instruction(self) -> str:
        """What was asked."""

    @property
    def preference(self) -> float | None:
        """From 1 to 2; None if the verdict failed."""

    @property
    def model_first(self) -> bool | None:
        """Who stood first, if that is known."""

    @property
    def annotator(self) -> str:
        """Whose verdict it is."""


def tabulate(rows: Iterable[Row]) -> Verdicts:
    """Read rows of verdicts; repeats are rows that agree in all but the preference.

    Raises:
        ValueError: a preference that is neither missing nor between 1 and 2.
    """
    rows = list(rows)
    instructions = {text: k for k, text in enumerate(dict.fromkeys(r.instruction for r in rows))}
    annotators = {name: k for k, name in enumerate(dict.fromkeys(r.annotator for r in rows))}
    return Verdicts(
        instruction=np.array([instructions[row.instruction] for row in rows], dtype=np.int64),
        model_first=np.array([row.model_first for row in rows], dtype=np.float64),
        annotator=np.array([annotators[row.annotator] for row in rows], dtype=np.int64),
        win=wins([row.preference for row in rows]),
        instructions=tuple(instructions),
        annotators=tuple(annotators),
    )


class Scored(Protocol):
    """What metrics say of one answer, as far as the statistics need it."""

    @property
    def instruction(self) -> str:
        """What was asked."""

    @property
    def scores(self) -> Mapping[str, float | None]:
        """By metric; None of one that does not apply, or failed."""

    @property
    def failed(self) -> Sequence[str]:
        """The metrics that should have a score and have none."""


def tabulate_scores(rows: Sequence[Scored], metric: str) -> Verdicts:
    """Read the scores of ``metric`` as verdicts that know no order.

    Every instruction keeps its number, scored or not.
    """
    instructions = {text: k for k, text in enumerate(dict.fromkeys(r.instruction for r in rows))}
    told = [
        (instructions[row.instruction], row.scores.get(metric))
        for row in rows
        if row.scores.get(metric) is not None or metric in row.failed
    ]
    return Verdicts(
        instruction=np.array([number for number, _ in told], dtype=np.int64),
        model_first=np.full(len(told), np.nan),
        annotator=np.zeros(len(told), dtype=np.int64),
        win=np.array([score for _, score in told], dtype=np.float64),
        instructions=tuple(instructions),
        annotators=(metric,),
    )


def wins(preferences: Sequence[float | None]) -> Floats:
    """Map preferences from 1…2 to the model's share of the win, 0…1.

    Raises:
        ValueError: a preference that is neither missing nor between 1 and 2.
    """
    found = np.asarray(preferences, dtype=np.float64)
    outside = found[~np.isnan(found) & ~((found >= 1) & (found <= 2))]
    if outside.size:
        raise ValueError(f"a preference is between 1 and 2, or missing: found {outside[0]:g}")
    return found - 1


def by_instruction(values: Floats) -> Floats:
    """Average each row's values; NaN where all of them are. Shape (instructions,)."""
    if values.ndim == 1:
        return values
    present = ~np.isnan(values)
    return mean_of(np.where(present, values, 0.0).sum(axis=1), present.sum(axis=1))


def totals(values: Floats, clusters: Ints, n: int) -> tuple[Floats, Floats]:
    """Return the sum and the number of each cluster's values that are not NaN, shape (n,) each."""
    present = ~np.isnan(values)
    sums = np.bincount(clusters[present], weights=values[present], minlength=n)
    counts = np.bincount(clusters[present], minlength=n)
    return sums.astype(np.float64), counts.astype(np.float64)


def mean_of(sums: Floats, counts: ArrayLike) -> Floats:
    """Return ``sums / counts``, NaN where nothing was counted."""
    counts = np.asarray(counts, dtype=np.float64)
    means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


def percent(share: float | None) -> float | None:
    """Return ``share`` in percent; None stays, and NaN becomes None."""
    return None if share is None or np.isnan(share) else float(share) * 100
