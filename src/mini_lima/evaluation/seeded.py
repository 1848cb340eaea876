"""Cells that were trained several times, each time with another seed.

Rows of verdicts or scores with a ``seed`` are told apart by it; without, a cell was trained once.
The figure of such a cell is the mean over its seeds. Its interval is about what the recipe does:
other instructions and other training runs on this data, not just the models that happen to be at
hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mini_lima.measured import OverSeeds
from mini_lima.statistics import (
    SeedError,
    Spread,
    Verdicts,
    by_instruction,
    interval_of_means,
    interval_of_rates,
    mean_of,
    seed_error,
    spread,
    totals,
    widened,
)
from mini_lima.statistics.table import Floats

Row = Mapping[str, Any]
Seeds = Sequence[Verdicts]
"""The verdicts, or the scores, of a cell for each of its training seeds."""


def by_seed(rows: Sequence[Row], read: Callable[[Sequence[Row]], Verdicts]) -> dict[Any, Verdicts]:
    """Read the verdicts, or the scores, of each seed's outputs, in the order of the seeds."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row.get("seed"), []).append(row)
    return {seed: read(found[seed]) for seed in sorted(found)}


def over_seeds(tables: Mapping[int, Verdicts], *, unit: str = "percent", **drawn: Any) -> OverSeeds:
    """Summarise one measure of a cell; with one seed it is `statistics.win_rate`, or the mean.

    Args:
        tables: A judge's verdicts or a metric's scores, by the training seed.
        unit: Of the measure; percentages are shares in the tables.
        **drawn: Seed and samples of the bootstrap, and the confidence of the interval.
    """
    scale = scale_of(unit)
    means = {number: _mean(table) for number, table in tables.items()}
    known = [mean for mean in means.values() if mean is not None]
    mean = float(np.mean(known)) if known else None
    low, high = None, None
    if mean is not None:
        seeds = [*tables.values()]
        error = through_seeds([seeds], [])
        confidence = drawn.get("confidence", 0.95)
        low, high = widened(mean, _interval(seeds, unit, drawn), error, confidence)
    if unit == "percent" and low is not None and high is not None:
        low, high = max(low, 0.0), min(high, 1.0)  # squares know no bounds, a share does
    return OverSeeds(
        values={number: scaled(found, scale) for number, found in means.items()},
        value=scaled(mean, scale),
        spread=float(np.std(known, ddof=1)) * scale if len(known) > 1 else None,
        low=scaled(low, scale),
        high=scaled(high, scale),
        n=sum(int((~np.isnan(table.win)).sum()) for table in tables.values()),
        failed=sum(int(np.isnan(table.win).sum()) for table in tables.values()),
    )


def scale_of(unit: str) -> float:
    """By what a value in a table is multiplied to be in ``unit``."""
    return 100.0 if unit == "percent" else 1.0


def scaled(value: float | None, scale: float) -> float | None:
    """Return ``value`` in the unit; what is not known stays so."""
    return None if value is None else float(value) * scale


def _mean(table: Verdicts) -> float | None:
    read = table.win[~np.isnan(table.win)]
    return float(read.sum() / len(read)) if len(read) else None


def differences(
    signs: Mapping[Any, int],
    cells: Mapping[Any, Seeds],
    failed_as: tuple[float, float] = (np.nan, np.nan),
) -> Floats:
    """Return a sum of cells on each instruction that has an order judged for all of them.

    Args:
        signs: 1 of a cell that is added, −1 of one that is subtracted, more for its multiple.
        cells: The verdicts on them, and perhaps on others.
        failed_as: The win to count for a failed verdict in a cell that is added, and in one that is
            subtracted.
    """
    instructions = cells[next(iter(signs))][0].instructions
    added, subtracted = failed_as
    terms = [
        sign * _mean_over_seeds(cells[cell], instructions, added if sign > 0 else subtracted)
        for cell, sign in signs.items()
    ]
    found = by_instruction(np.sum(terms, axis=0))
    return found[~np.isnan(found)]


def through_seeds(
    trained: Sequence[Seeds], untrained: Sequence[Seeds], weights: Sequence[int] = ()
) -> SeedError | None:
    """Return what seeds add to a sum or difference of cells; one that nobody trained adds none.

    Args:
        trained: The trained cells.
        untrained: The others.
        weights: Of the trained cells, where they are not all 1 or −1.
    """
    squares = [weight**2 for weight in weights] or [1] * len(trained)
    spreads = [_spread_of(seeds) for seeds in (*trained, *untrained)]
    weighted = [
        replace(found, between=found.between * square, noise=found.noise * square)
        for found, square in zip(spreads, squares + [1] * len(untrained), strict=True)
        if found
    ]
    alone = sum(s for s, found in zip(squares, spreads[: len(trained)], strict=True) if not found)
    return seed_error(weighted, alone)


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


def _interval(
    tables: Seeds, unit: str, drawn: Mapping[str, Any]
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the mean over instructions, in the tables' own unit."""
    number = {text: k for k, text in enumerate(tables[0].instructions)}
    columns = []
    for each in tables:
        here = np.array([number[text] for text in each.instructions], dtype=np.int64)
        columns.append(totals(each.win, here[each.instruction], len(number)))
    sums, counts = (np.column_stack(part) for part in zip(*columns, strict=True))
    judged = counts.sum(axis=1) > 0
    read = counts.sum(axis=0) > 0
    sums, counts = sums[judged][:, read], counts[judged][:, read]
    if unit == "percent":
        return interval_of_rates(sums, counts, **drawn)
    return interval_of_means(sums, counts, **drawn)
