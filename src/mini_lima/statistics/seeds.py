"""What training again with another seed would change: a source of error beside instructions.

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
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import stdtr, stdtrit

from mini_lima.statistics.resampling import Interval
from mini_lima.statistics.table import Floats

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
