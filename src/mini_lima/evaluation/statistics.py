"""What a win rate is and how sure one can be of it: pure functions on arrays.

A win rate alone has misled this field: the same answers, judged three times, gave 29, 14 and 18
percent. So no function here returns one without the number of verdicts, the number that failed
and an interval. The unit is the instruction: several verdicts on one instruction (orders,
repeats) are no new evidence about other instructions, so they are averaged first and whole
instructions are resampled.

Preferences are AlpacaEval's: 1 the reference wins, 2 the model wins, 1.5 a tie, anything between
a weighted verdict, NaN or None a verdict that failed. Shape (instructions,), or (instructions,
verdicts) where each instruction was judged several times. What cannot be known is None, never NaN.

Sources: the win rate is the "generalized win rate" of ``alpaca_eval.metrics.get_winrate`` (Li et
al., AlpacaEval, 2023); the interval is Efron's percentile bootstrap (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, ch. 13); bounds under missing verdicts follow Manski (1989).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float] | tuple[None, None]

DRAWN_AT_ONCE = 1_000_000
"""Resampled values held in memory at a time: about 16 MB, whatever the number of samples."""


@dataclass(frozen=True)
class WinRate:
    """A win rate in percent, with what one needs to believe it.

    ``n_total`` counts the verdicts that could be read, as AlpacaEval does, and ``n_failed`` those
    that could not. ``low`` and ``high`` hold the sampling error of the verdicts that are there;
    the two bounds hold what the missing ones could change: the win rate if every failure were a
    loss, and if every failure were a win.
    """

    win_rate: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n_total: int
    n_failed: int
    low_if_failures_lose: float | None
    high_if_failures_win: float | None


@dataclass(frozen=True)
class PairedDifference:
    """Win rate of a minus that of b in percentage points, over the ``n`` instructions both have."""

    difference: float | None
    low: float | None
    high: float | None
    n: int


def win_rate(
    preferences: ArrayLike, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> WinRate:
    """Summarise preferences as AlpacaEval does, and add what it leaves out.

    With one verdict per instruction, ``win_rate`` and ``standard_error`` equal those of
    ``alpaca_eval.metrics.get_winrate``; with several, they are taken over the instructions' means.

    A bootstrap cannot see what did not occur, so when every verdict is a win, or every one a loss,
    its interval would have no width. There the exact binomial interval (Clopper and Pearson, 1934)
    takes its place: 0 wins of 40 means "at most 9 percent", not "none, for certain".

    Raises:
        ValueError: a preference that is neither missing nor between 1 and 2.
    """
    wins = _wins(preferences)
    judged = _judged(by_instruction(wins))
    failed = np.isnan(wins)
    n = len(judged)
    low, high = bootstrap_interval(judged, seed=seed, confidence=confidence, samples=samples)
    if n > 1 and judged[0] in (0.0, 1.0) and np.all(judged == judged[0]):
        unseen = 1 - ((1 - confidence) / 2) ** (1 / n)
        low, high = (0.0, unseen) if judged[0] == 0.0 else (1 - unseen, 1.0)
    return WinRate(
        win_rate=_percent(judged.mean() if n else None),
        standard_error=_percent(judged.std(ddof=1) / np.sqrt(n) if n > 1 else None),
        low=_percent(low),
        high=_percent(high),
        n_total=int((~failed).sum()),
        n_failed=int(failed.sum()),
        low_if_failures_lose=_percent(_mean_with_failures_as(0.0, wins)),
        high_if_failures_win=_percent(_mean_with_failures_as(1.0, wins)),
    )


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> PairedDifference:
    """Compare two models on the same instructions: row k of ``a`` and of ``b`` is instruction k.

    Pairing removes what makes instructions easy or hard for both, so the interval is narrower than
    that of two separate win rates. Instructions that failed for either model are left out and
    ``n`` says how many remain.

    Raises:
        ValueError: different numbers of instructions, or preferences outside 1 to 2.
    """
    first, second = by_instruction(_wins(a)), by_instruction(_wins(b))
    if len(first) != len(second):
        raise ValueError(f"cannot pair {len(first)} instructions with {len(second)}")
    differences = _judged(first - second)
    low, high = bootstrap_interval(differences, seed=seed, confidence=confidence, samples=samples)
    mean = differences.mean() if len(differences) else None
    return PairedDifference(_percent(mean), _percent(low), _percent(high), len(differences))


def bootstrap_interval(
    values: ArrayLike, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> Interval:
    """Return the percentile bootstrap interval of the mean, resampling instructions.

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
    if not 0 < confidence < 1 or samples < 1:
        raise ValueError(f"no interval with confidence {confidence} from {samples} samples")
    means = _judged(by_instruction(np.asarray(values, dtype=np.float64)))
    n = len(means)
    if n < 2:
        return None, None
    rng = np.random.default_rng(seed)
    resampled = np.empty(samples)
    at_once = max(1, DRAWN_AT_ONCE // n)
    for start in range(0, samples, at_once):
        drawn = rng.integers(n, size=(min(at_once, samples - start), n))
        resampled[start : start + at_once] = means[drawn].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def by_instruction(values: Floats) -> Floats:
    """Average each instruction's values; NaN where all of them are. Shape (instructions,)."""
    if values.ndim == 1:
        return values
    present = ~np.isnan(values)
    counts = present.sum(axis=1)
    sums = np.where(present, values, 0.0).sum(axis=1)
    means: Floats = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return means


def _wins(preferences: ArrayLike) -> Floats:
    """Map preferences from 1…2 to the model's share of the win, 0…1."""
    found = np.asarray(preferences, dtype=np.float64)
    outside = found[~np.isnan(found) & ~((found >= 1) & (found <= 2))]
    if outside.size:
        raise ValueError(f"a preference is between 1 and 2, or missing: found {outside[0]:g}")
    return found - 1


def _judged(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _mean_with_failures_as(outcome: float, wins: Floats) -> float | None:
    filled = by_instruction(np.where(np.isnan(wins), outcome, wins))
    return float(filled.mean()) if len(filled) else None


def _percent(share: float | None) -> float | None:
    return None if share is None else float(share) * 100
