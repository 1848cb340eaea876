"""Cells, which may have been trained several times: their means, differences, and seeds' error.

Training again with another seed is a source of error beside instructions. The figure of a cell that
was trained several times is the mean over its seeds, and its interval is about what the recipe
does: other instructions and other training runs on this data, not just the models that happen to be
at hand.

Every instruction is put to every seed's model, so the two sources are crossed: a verdict is a mean
plus an effect of its instruction, one of its seed, and a rest (Searle, Casella and McCulloch,
Variance Components, 1992, chapter 4). Resampling instructions, each averaged over the seeds, holds
the first and the rest. What is left, variance of seeds over their number, is the mean square of the
seeds' means less what the rest adds to it: the decomposition of Owen (The pigeonhole bootstrap,
2007), with the seeds' part from the analysis of variance, since nobody can resample three of them.

There are few seeds, so their part has few degrees of freedom (Satterthwaite, An approximate
distribution of estimates of variance components, 1946) and a quantile of Student's that is wide:
12.7 for two seeds, 4.3 for three, 2.8 for five. Each part keeps its own quantile and the two half-
widths are added as squares (MOVER: Zou and Donner, Construction of confidence limits about effect
measures, 2008). One number of degrees of freedom for the sum of both, the more usual way, covers as
little as 90% with three seeds.

With two seeds nothing is subtracted: one difference cannot be told from the rest's, and intervals
that try cover as little as 89%. These are wide and cover more than they say; docs/statistics.md has
the simulation.
"""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeVar, Unpack

import numpy as np
from scipy.special import stdtr, stdtrit

from mini_lima.results import OverSeeds, PairedDifference
from mini_lima.statistics.intervals import (
    Drawn,
    Interval,
    bootstrap_interval,
    interval_of_means,
    interval_of_rates,
)
from mini_lima.statistics.table import Floats, Verdicts, by_instruction, mean_of, totals

Seeds = Sequence[Verdicts]
"""The verdicts, or the scores, of a cell for each of its training seeds."""
Cell = TypeVar("Cell", bound=Hashable)

SMALLEST_P, HALVINGS = 1e-9, 22
"""The p-value that is reported for anything smaller; steps that find one to five digits."""
POWER = 0.8
"""Probability with which a difference is to be found that is there."""
FEW = 2
"""Seeds up to which the rest's part in the spread is not subtracted."""


@dataclass(frozen=True)
class Spread:
    """How the means of one cell's seeds differ, as shares.

    Attributes:
        seeds: How many there are.
        between: Variance of their means, as it is seen.
        noise: What of it the rest makes alone, if the seeds are all alike.
    """

    seeds: int
    between: float
    noise: float


@dataclass(frozen=True)
class SeedError:
    """Variance that seeds give to an estimate, and the degrees of freedom it is known with."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A sum of cells over the instructions that all of them have, in a table's own unit.

    Attributes:
        values: Of each instruction.
        mean: Of these; None where there are none.
        low: Of its interval over instructions, widened by what seeds add.
        high: Of the same.
        error: The standard error through instructions.
        seeds: What seeds add to it.
    """

    values: Floats
    mean: float | None
    low: float | None
    high: float | None
    error: float
    seeds: SeedError | None

    def told(self, scale: float) -> PairedDifference:
        """The difference alone, in the unit of a table multiplied by ``scale``."""
        mean, low, high = (scaled(each, scale) for each in (self.mean, self.low, self.high))
        return PairedDifference(mean, low, high, len(self.values))


def over_seeds(
    tables: Mapping[int, Verdicts], *, unit: str = "percent", **drawn: Unpack[Drawn]
) -> OverSeeds:
    """Summarise one measure of a cell; with one seed it is `win_rate`, or the mean.

    Args:
        tables: A judge's verdicts or a metric's scores, by the training seed.
        unit: Of the measure; percentages are shares in the tables.
        **drawn: How the interval is drawn.
    """
    scale = scale_of(unit)
    read = {number: table.win[~np.isnan(table.win)] for number, table in tables.items()}
    means = {number: float(win.sum() / len(win)) for number, win in read.items() if len(win)}
    mean = float(np.mean([*means.values()])) if means else None
    low, high = None, None
    if mean is not None:
        seeds = [*tables.values()]
        interval = _interval(seeds, unit, drawn)
        error = _through_seeds([seeds], [], [1])
        low, high = widened(mean, interval, error, drawn.get("confidence", 0.95))
    if unit == "percent" and low is not None and high is not None:
        low, high = max(low, 0.0), min(high, 1.0)  # squares know no bounds, a share does
    return OverSeeds(
        values={number: scaled(means.get(number), scale) for number in tables},
        value=scaled(mean, scale),
        spread=float(np.std([*means.values()], ddof=1)) * scale if len(means) > 1 else None,
        low=scaled(low, scale),
        high=scaled(high, scale),
        n=sum(len(win) for win in read.values()),
        failed=sum(int(np.isnan(table.win).sum()) for table in tables.values()),
    )


def paired_difference(
    a: Verdicts, b: Verdicts, *, scale: float = 100.0, **drawn: Unpack[Drawn]
) -> PairedDifference:
    """Compare two models on the same instructions: the mean of ``a`` minus that of ``b``.

    Pairing removes what makes instructions easy or hard for both, so the interval is narrower than
    that of two separate win rates. Instructions that failed for either model are left out and
    ``n`` says how many remain. Verdicts are compared in the same order of the outputs only: one
    that failed must not let position bias pass for a difference.

    Raises:
        ValueError: different instructions.
    """
    if set(a.instructions) != set(b.instructions):
        raise ValueError("cannot pair verdicts on different instructions")
    return estimate({"a": 1, "b": -1}, {"a": [a], "b": [b]}, trained=(), **drawn).told(scale)


def estimate(
    signs: Mapping[Cell, int],
    cells: Mapping[Cell, Seeds],
    *,
    trained: Collection[Cell],
    **drawn: Unpack[Drawn],
) -> Estimate:
    """Estimate a sum of cells, each the mean over its seeds.

    Args:
        signs: 1 of a cell that is added, −1 of one that is subtracted, more for its multiple.
        cells: The verdicts on them, and perhaps on others.
        trained: Those that another seed would change.
        **drawn: How the interval is drawn.
    """
    values = differences(signs, cells)
    n = len(values)
    mean = float(values.mean()) if n else None
    moving = [cell for cell in signs if cell in trained]
    seeds = _through_seeds(
        [cells[cell] for cell in moving],
        [cells[cell] for cell in signs if cell not in trained],
        [signs[cell] for cell in moving],
    )
    interval = bootstrap_interval(values, **drawn)
    low, high = widened(mean or 0.0, interval, seeds, drawn.get("confidence", 0.95))
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return Estimate(values, mean, low, high, error, seeds)


def differences(
    signs: Mapping[Cell, int],
    cells: Mapping[Cell, Seeds],
    failed_as: tuple[float, float] = (np.nan, np.nan),
) -> Floats:
    """Return a sum of cells on each instruction that has an order judged for all of them.

    Args:
        signs: As for `estimate`.
        cells: As for `estimate`.
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


def scale_of(unit: str) -> float:
    """By what a value in a table is multiplied to be in ``unit``."""
    return 100.0 if unit == "percent" else 1.0


def scaled(value: float | None, scale: float) -> float | None:
    """Return ``value`` in the unit; what is not known stays so."""
    return None if value is None else float(value) * scale


def _through_seeds(
    trained: Sequence[Seeds], untrained: Sequence[Seeds], weights: Sequence[int]
) -> SeedError | None:
    """Return what seeds add to a sum of cells, of which ``trained`` have ``weights``.

    One that nobody trained adds none, unless its outputs were sampled several times.
    """
    squares = [weight**2 for weight in weights]
    spreads = [_spread_of(tables) for tables in [*trained, *untrained]]
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


def _interval(tables: Seeds, unit: str, drawn: Drawn) -> Interval:
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


def spread(values: Floats) -> Spread | None:
    """Measure how the seeds of a cell differ.

    Args:
        values: A row per seed and a column per instruction; instructions that have a NaN are left
            out, for seeds are compared on the same ones.

    Returns:
        None below two seeds or two instructions, where nothing is known.
    """
    complete = values[:, ~np.isnan(values).any(axis=0)]
    seeds, n = complete.shape
    if seeds < 2 or n < 2:
        return None
    means = complete.mean(axis=1)
    rest = complete - means[:, None] - complete.mean(axis=0) + means.mean()
    noise = float(np.square(rest).sum() / ((seeds - 1) * (n - 1)) / n)
    return Spread(seeds, float(means.var(ddof=1)), noise)


def seed_error(spreads: Sequence[Spread], alone: int = 0) -> SeedError | None:
    """Return what seeds add to the variance of a sum or difference of cells' means.

    Args:
        spreads: Of the cells that have several seeds; they are independent of one another.
        alone: Number of cells with one seed, which shows no spread: they are lent the average one.

    Returns:
        None where no cell has a spread: then nothing is known about it.
    """
    if not spreads:
        return None
    freedom = np.array([each.seeds - 1.0 for each in spreads])
    weights = 1 / (freedom + 1) + alone * freedom / freedom.sum()
    parts = weights * [each.between for each in spreads]
    if not parts.sum():
        return SeedError(0.0, float(freedom.sum()))
    noise = weights @ [each.noise for each in spreads]
    if any(each.seeds <= FEW for each in spreads):
        noise = 0.0
    known = np.square(parts.sum()) / (np.square(parts) / freedom).sum()
    return SeedError(max(float(parts.sum() - noise), 0.0), float(known))


def widened(
    estimate: float, interval: Interval, error: SeedError | None, confidence: float
) -> Interval:
    """Return ``interval``, which knows instructions alone, with the seeds' part in it."""
    low, high = interval
    if low is None or high is None or error is None:
        return interval
    seeds = quantile(1 - confidence, error.freedom) ** 2 * error.variance
    if not seeds:
        return interval
    return (
        estimate - math.sqrt((estimate - low) ** 2 + seeds),
        estimate + math.sqrt((high - estimate) ** 2 + seeds),
    )


def p_over_seeds(difference: float, standard_error: float, n: int, error: SeedError) -> float:
    """Return the two-sided p-value of a difference of 0: where such an interval begins to hold it.

    Args:
        difference: The mean over instructions and seeds.
        standard_error: Of it, through instructions.
        n: Instructions, at least 2.
        error: Through seeds.
    """
    if not difference:
        return 1.0
    if not error.variance:
        return two_sided_p(difference / standard_error, n - 1) if standard_error else 0.0
    low, high = SMALLEST_P, 1.0
    for _ in range(HALVINGS):
        p = math.sqrt(low * high)
        instructions = quantile(p, n - 1) * standard_error
        seeds = quantile(p, error.freedom) * math.sqrt(error.variance)
        low, high = (p, high) if math.hypot(instructions, seeds) > abs(difference) else (low, p)
    return high


def detectable(
    standard_error: float,
    *,
    confidence: float = 0.95,
    power: float = POWER,
    family: int = 1,
    seeds: SeedError | None = None,
) -> float:
    """Return the smallest difference that a two-sided test finds with probability ``power``.

    Bloom, Minimum detectable effects, 1995: the standard error times the sum of two normal
    quantiles, 2.8 for 95 and 80 percent. In a family the strictest of Holm's steps is assumed. What
    training seeds add has Student's quantiles, and the two are added as squares, as the test does.

    Args:
        standard_error: Of the difference through instructions, in any unit, which the result has.
        confidence: 1 less the level of the test.
        power: Probability of finding what is there.
        family: Number of tests.
        seeds: Of the difference through training seeds, in the same unit.
    """
    normal = NormalDist()
    level = (1 - confidence) / family
    found = (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * standard_error
    if seeds is None:
        return found
    factor = quantile(level, seeds.freedom) + quantile(2 * (1 - power), seeds.freedom)
    return math.hypot(found, factor * math.sqrt(seeds.variance))


def two_sided_p(t: float, freedom: float) -> float:
    """Return the probability of a value at least as far from 0 as ``t``.

    Args:
        t: Of either sign.
        freedom: Degrees of freedom, at least 1; infinity is the normal distribution.
    """
    return 2 * float(stdtr(freedom, -abs(t)))


def quantile(p: float, freedom: float) -> float:
    """Return the distance from 0 that is reached with the two-sided probability ``p``.

    Args:
        p: Above 0, at most 1: 0.05 gives the quantile of a 95% interval.
        freedom: As for `two_sided_p`.
    """
    return abs(float(stdtrit(freedom, p / 2)))
