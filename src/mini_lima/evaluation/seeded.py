"""Cells that were trained several times, each time with another seed.

Rows of annotations.json with a ``seed`` are told apart by it; without, a cell was trained once. The
figure of such a cell is the mean over its seeds. Its interval is about what the recipe does: other
instructions and other training runs on this data, not just the models that happen to be at hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mini_lima.evaluation.statistics import (
    SeedError,
    Spread,
    Verdicts,
    by_instruction,
    interval_of_rates,
    mean_of,
    seed_error,
    spread,
    tabulate,
    totals,
    widened,
    win_rate,
)
from mini_lima.evaluation.statistics.table import Floats, percent

Row = Mapping[str, Any]
Seeds = Sequence[Verdicts]
"""The verdicts on a cell, for each of its training seeds."""


@dataclass(frozen=True)
class OverSeeds:
    """The win rates of a cell's seeds and what they come to, in percent.

    Attributes:
        win_rates: By seed; None of a seed without any verdict that could be read.
        win_rate: Their mean.
        spread: Their standard deviation, as it is seen; None below two seeds.
        low: Of the interval, over instructions and seeds.
        high: Of the same.
        n_total: Verdicts that could be read, of all seeds.
        n_failed: Those that could not.
    """

    win_rates: dict[int, float | None]
    win_rate: float | None
    spread: float | None
    low: float | None
    high: float | None
    n_total: int
    n_failed: int


def by_seed(rows: Sequence[Row]) -> dict[Any, Verdicts]:
    """Read the verdicts on each seed's outputs, in the order of the seeds."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row.get("seed"), []).append(row)
    return {seed: tabulate(found[seed]) for seed in sorted(found)}


def over_seeds(
    rows: Sequence[Row], *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> OverSeeds:
    """Summarise one annotator's verdicts on a cell; with one seed it is `statistics.win_rate`.

    Args:
        rows: Each with its ``seed``.
        seed: Of the bootstrap.
        confidence: Of the interval.
        samples: Of the bootstrap.
    """
    tables = by_seed(rows)
    drawn: dict[str, Any] = {"seed": seed, "confidence": confidence, "samples": samples}
    each = {number: win_rate(table, **{**drawn, "samples": 1}) for number, table in tables.items()}
    rates = [found.win_rate for found in each.values() if found.win_rate is not None]
    mean = float(np.mean(rates)) if rates else None
    low, high = None, None
    if mean is not None:
        seeds = [*tables.values()]
        error = through_seeds([seeds], [])
        low, high = widened(mean / 100, _interval(seeds, drawn), error, confidence)
    return OverSeeds(
        win_rates={number: found.win_rate for number, found in each.items()},
        win_rate=mean,
        spread=float(np.std(rates, ddof=1)) if len(rates) > 1 else None,
        # Squares know no bounds, a win rate does.
        low=None if low is None else percent(max(low, 0.0)),
        high=None if high is None else percent(min(high, 1.0)),
        n_total=sum(found.n_total for found in each.values()),
        n_failed=sum(found.n_failed for found in each.values()),
    )


def differences(
    signs: Mapping[Any, int],
    cells: Mapping[Any, Seeds],
    failed_as: tuple[float, float] = (np.nan, np.nan),
) -> Floats:
    """Return a sum of cells on each instruction that has an order judged for all of them.

    Args:
        signs: 1 of a cell that is added, −1 of one that is subtracted.
        cells: The verdicts on them, and perhaps on others.
        failed_as: The win to count for a failed verdict in a cell that is added, and in one that is
            subtracted.
    """
    instructions = next(iter(cells.values()))[0].instructions
    added, subtracted = failed_as
    terms = [
        sign * _mean_over_seeds(cells[cell], instructions, added if sign > 0 else subtracted)
        for cell, sign in signs.items()
    ]
    found = by_instruction(np.sum(terms, axis=0))
    return found[~np.isnan(found)]


def through_seeds(trained: Sequence[Seeds], untrained: Sequence[Seeds]) -> SeedError | None:
    """Return what seeds add to a sum or difference of cells; one that nobody trained adds none."""
    spreads = [_spread_of(seeds) for seeds in (*trained, *untrained)]
    alone = spreads[: len(trained)].count(None)
    return seed_error([found for found in spreads if found], alone)


def _mean_over_seeds(tables: Seeds, instructions: Sequence[str], failed_as: float) -> Floats:
    """Return each instruction's mean win in each order over the seeds that were judged in it.

    The shape is that of `Verdicts.by_order`, which it is for one seed.
    """
    wins = np.stack([each.by_order(instructions, failed_as=failed_as) for each in tables])
    present = ~np.isnan(wins)
    return mean_of(np.where(present, wins, 0.0).sum(axis=0), present.sum(axis=0))


def _spread_of(tables: Seeds) -> Spread | None:
    """Measure how the seeds of a cell differ, on what was judged of all that were judged at all."""
    tables = [each for each in tables if not np.isnan(each.win).all()]
    if len(tables) < 2:
        return None
    wins = np.stack([each.by_order(tables[0].instructions) for each in tables])
    wins[:, np.isnan(wins).any(axis=0)] = np.nan
    return spread(np.stack([by_instruction(each) for each in wins]))


def _interval(tables: Seeds, drawn: Mapping[str, Any]) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the mean win rate over instructions, as shares."""
    number = {text: k for k, text in enumerate(tables[0].instructions)}
    columns = []
    for each in tables:
        here = np.array([number[text] for text in each.instructions], dtype=np.int64)
        columns.append(totals(each.win, here[each.instruction], len(number)))
    sums, counts = (np.column_stack(part) for part in zip(*columns, strict=True))
    judged = counts.sum(axis=1) > 0
    read = counts.sum(axis=0) > 0
    return interval_of_rates(sums[judged][:, read], counts[judged][:, read], **drawn)
