"""The bootstrap over instructions.

Instructions are drawn with replacement, each with all of its verdicts (the cluster bootstrap:
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). All that is
resampled here is a ratio of sums, so one primitive serves every interval: the sums over the drawn
instructions. Intervals are Efron's percentile intervals (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13), expanded for what they are too narrow by with few instructions:
the bootstrap's variance lacks a factor of n − 1 over n, and its quantiles are the normal's where
Student's are due (Hesterberg, What Teachers Should Know About the Bootstrap, 2015).
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from mini_lima.statistics.table import Floats, by_instruction

Interval = tuple[float, float] | tuple[None, None]

DRAWN_AT_ONCE = 1_000_000
"""Draws held in memory at a time: about 16 MB, whatever the number of samples."""


def bootstrap_interval(
    values: ArrayLike, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> Interval:
    """Return the interval of the mean, resampling instructions.

    Args:
        values: one value per instruction, or a row of several that are averaged first; NaN is
            left out. Any unit.
        seed: fixes the resampling, so that a report can be made again to the last digit.
        confidence: probability that the interval is to cover the mean with.
        samples: number of resamples.

    Returns:
        The interval's ends in the unit of ``values``; (None, None) below two instructions, where
        nothing is known about how instructions differ.
    """
    means = by_instruction(np.asarray(values, dtype=np.float64))
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
