"""The win rate with what one needs to believe it, and the bootstrap behind every interval.

Instructions are drawn with replacement, each with all of its verdicts (the cluster bootstrap:
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). All that is
resampled here is a ratio of sums, so one primitive serves every interval: the sums over the drawn
instructions. Intervals are Efron's percentile intervals (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13), expanded for what they are too narrow by with few instructions:
the bootstrap's variance lacks a factor of n − 1 over n, and its quantiles are the normal's where
Student's are due (Hesterberg, What Teachers Should Know About the Bootstrap, 2015).

``win_rate`` is the "generalized win rate" of ``alpaca_eval.metrics.get_winrate`` (Li et al.,
AlpacaEval, 2023): the mean over all verdicts that could be read. Its standard error treats each
instruction as one cluster (the linearised ratio estimator: Cochran, Sampling Techniques, 1977,
chapters 6 and 9); with one verdict per instruction that is the library's own. Bounds under missing
verdicts follow Manski (Anatomy of the Selection Problem, 1989).
"""

import math
from statistics import NormalDist
from typing import Required, TypedDict, Unpack

import numpy as np

from mini_lima.results import WinRate
from mini_lima.statistics.table import Floats, Verdicts, by_instruction, percent, totals

Interval = tuple[float, float] | tuple[None, None]

DRAWN_AT_ONCE = 1_000_000
"""Draws held in memory at a time: about 16 MB, whatever the number of samples."""


class Drawn(TypedDict, total=False):
    """How an interval is drawn.

    ``seed`` fixes the resampling, so that a report can be made again to the last digit;
    ``confidence`` is the probability that the interval is to cover with; ``samples`` the number of
    resamples.
    """

    seed: Required[int]
    confidence: float
    samples: int


def win_rate(verdicts: Verdicts, **drawn: Unpack[Drawn]) -> WinRate:
    """Summarise verdicts as AlpacaEval does, and add what it leaves out."""
    sums, counts = totals(verdicts.win, verdicts.instruction, len(verdicts.instructions))
    sums, counts = sums[counts > 0], counts[counts > 0]
    asked, failed = len(verdicts.win), int(np.isnan(verdicts.win).sum())
    n_total = int(counts.sum())
    low, high = interval_of_rates(sums[:, None], counts[:, None], **drawn)
    return WinRate(
        win_rate=percent(sums.sum() / n_total if n_total else None),
        standard_error=percent(_standard_error(sums, counts)),
        low=percent(low),
        high=percent(high),
        n_total=n_total,
        n_failed=failed,
        low_if_failures_lose=percent(sums.sum() / asked if asked else None),
        high_if_failures_win=percent((sums.sum() + failed) / asked if asked else None),
    )


def _standard_error(sums: Floats, counts: Floats) -> float | None:
    n, total = len(sums), counts.sum()
    if n < 2:
        return None
    deviations = sums - sums.sum() / total * counts
    return float(np.sqrt(n / (n - 1) * np.square(deviations).sum()) / total)


def interval_of_rates(
    sums: Floats, counts: Floats, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> Interval:
    """Return the interval of the mean of several win rates, as shares, resampling instructions.

    A bootstrap cannot see what did not occur, so when every verdict is a win, or every one a loss,
    its interval would have no width. There the exact binomial interval (Clopper and Pearson, 1934)
    takes its place: 0 wins of 40 means "at most 9 percent", not "none, for certain".

    Args:
        sums: Each instruction's wins in each of them, shape (instructions, win rates).
        counts: Its verdicts, of the same shape.
        seed: Of the bootstrap.
        confidence: Of the interval.
        samples: Of the bootstrap.
    """
    n, total = len(sums), sums.sum()
    if n > 1 and total in (0, counts.sum()):
        unseen = 1 - ((1 - confidence) / 2) ** (1 / n)
        return (0.0, unseen) if total == 0 else (1 - unseen, 1.0)
    return interval_of_means(sums, counts, seed=seed, confidence=confidence, samples=samples)


def interval_of_means(
    sums: Floats, counts: Floats, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> Interval:
    """Return the interval of the mean of several ratios of sums, resampling instructions.

    The arguments are those of `interval_of_rates`, of values in any unit.
    """
    n, means = sums.shape
    resampled = resampled_totals(np.hstack([sums, counts]), seed=seed, samples=samples)
    each = resampled[:, :means] / np.maximum(resampled[:, means:], 1)
    return percentile_interval(each.mean(axis=1), n, confidence)


def bootstrap_interval(
    values: Floats, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> Interval:
    """Return the interval of the mean, resampling instructions.

    Args:
        values: One value per instruction, or a row of several that are averaged first; NaN is
            left out. Any unit.
        seed: As in `Drawn`.
        confidence: As in `Drawn`.
        samples: As in `Drawn`.

    Returns:
        The interval's ends in the unit of ``values``; (None, None) below two instructions, where
        nothing is known about how instructions differ.
    """
    means = by_instruction(values)
    means = means[~np.isnan(means)]
    totals = resampled_totals(means[:, None], seed=seed, samples=samples)
    return percentile_interval(totals[:, 0] / max(len(means), 1), len(means), confidence)


def resampled_totals(totals: Floats, *, seed: int, samples: int) -> Floats:
    """Return the column sums of resampled instructions.

    Args:
        totals: what each instruction adds to each sum, shape (instructions, columns).
        seed: fixes the draws: the same instructions are drawn whatever the columns.
        samples: number of resamples.

    Returns:
        Shape (samples, columns).
    """
    if samples < 1:
        raise ValueError(f"no interval from {samples} samples")
    n, columns = totals.shape
    sums = np.zeros((samples, columns))
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // max(n, 1))
    for start in range(0, samples if n else 0, at_once):
        size = min(at_once, samples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        sums[start : start + size] = times @ totals
    return sums


def percentile_interval(resampled: Floats, n: int, confidence: float) -> Interval:
    """Return the percentile interval of ``resampled``, shape (samples,).

    Args:
        resampled: a statistic of every resample; NaN where it is not defined.
        n: instructions behind it. Below two there is no interval.
        confidence: probability that the interval is to cover with.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"no interval with confidence {confidence}")
    defined = resampled[~np.isnan(resampled)]
    if n < 2 or not len(defined):
        return None, None
    tail = _expanded((1 - confidence) / 2, n)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _expanded(tail: float, n: int) -> float:
    """Return the tail to cut off a bootstrap of ``n`` so that ``tail`` is left out.

    Student's quantile is Fisher's expansion of it, which is good to a hundredth from 8 degrees of
    freedom on (Abramowitz and Stegun, 1964, 26.7.5).
    """
    normal, freedom = NormalDist(), n - 1
    z = normal.inv_cdf(tail)
    student = z + (z**3 + z) / (4 * freedom)
    student += (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return normal.cdf(student * math.sqrt(n / freedom))
