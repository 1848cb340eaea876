"""The win rate with what one needs to believe it.

``win_rate`` is the "generalized win rate" of ``alpaca_eval.metrics.get_winrate`` (Li et al.,
AlpacaEval, 2023): the mean over all verdicts that could be read. Its standard error treats each
instruction as one cluster (the linearised ratio estimator: Cochran, Sampling Techniques, 1977,
chapters 6 and 9); with one verdict per instruction that is the library's own. Bounds under missing
verdicts follow Manski (Anatomy of the Selection Problem, 1989).
"""

import numpy as np
from numpy.typing import ArrayLike

from mini_lima.measured import PairedDifference, WinRate
from mini_lima.statistics.resampling import (
    Interval,
    bootstrap_interval,
    percentile_interval,
    resampled_totals,
)
from mini_lima.statistics.table import (
    Floats,
    Ints,
    Verdicts,
    by_instruction,
    percent,
    totals,
    wins,
)


def win_rate(
    preferences: ArrayLike | Verdicts,
    *,
    seed: int,
    confidence: float = 0.95,
    samples: int = 10_000,
) -> WinRate:
    """Summarise verdicts as AlpacaEval does, and add what it leaves out.

    Args:
        preferences: one per instruction; or a row per instruction, shape (instructions,
            verdicts); or verdicts as `tabulate` reads them.
        seed: of the bootstrap.
        confidence: of the interval.
        samples: of the bootstrap.

    Raises:
        ValueError: a preference that is neither missing nor between 1 and 2.
    """
    win, instruction = _columns(preferences)
    sums, counts = totals(win, instruction, int(instruction.max(initial=-1)) + 1)
    sums, counts = sums[counts > 0], counts[counts > 0]
    failed = int(np.isnan(win).sum())
    n_total = int(counts.sum())
    rate = sums.sum() / n_total if n_total else None
    low, high = interval_of_rates(
        sums[:, None], counts[:, None], seed=seed, confidence=confidence, samples=samples
    )
    return WinRate(
        win_rate=percent(rate),
        standard_error=percent(_standard_error(sums, counts)),
        low=percent(low),
        high=percent(high),
        n_total=n_total,
        n_failed=failed,
        low_if_failures_lose=percent(sums.sum() / len(win) if len(win) else None),
        high_if_failures_win=percent((sums.sum() + failed) / len(win) if len(win) else None),
    )


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


def paired_difference(
    a: ArrayLike | Verdicts,
    b: ArrayLike | Verdicts,
    *,
    seed: int,
    confidence: float = 0.95,
    samples: int = 10_000,
    scale: float = 100.0,
) -> PairedDifference:
    """Compare two models on the same instructions: row k of ``a`` and of ``b`` is instruction k.

    Pairing removes what makes instructions easy or hard for both, so the interval is narrower than
    that of two separate win rates. Instructions that failed for either model are left out and
    ``n`` says how many remain. Verdicts as `tabulate` reads them are compared in the same order of
    the outputs only: one that failed must not let position bias pass for a difference. Scores of a
    metric go the same way, with the ``scale`` that brings them to their unit.

    Raises:
        ValueError: different instructions, or preferences outside 1 to 2.
    """
    differences = scale * _differences(a, b)
    differences = differences[~np.isnan(differences)]
    low, high = bootstrap_interval(differences, seed=seed, confidence=confidence, samples=samples)
    mean = float(differences.mean()) if len(differences) else None
    return PairedDifference(mean, low, high, len(differences))


def _differences(a: ArrayLike | Verdicts, b: ArrayLike | Verdicts) -> Floats:
    if isinstance(a, Verdicts) and isinstance(b, Verdicts):
        if set(a.instructions) != set(b.instructions):
            raise ValueError("cannot pair verdicts on different instructions")
        return by_instruction(a.by_order(a.instructions) - b.by_order(a.instructions))
    assert not isinstance(a, Verdicts)
    assert not isinstance(b, Verdicts)
    first, second = by_instruction(wins(a)), by_instruction(wins(b))
    if len(first) != len(second):
        raise ValueError(f"cannot pair {len(first)} instructions with {len(second)}")
    difference: Floats = first - second
    return difference


def _columns(preferences: ArrayLike | Verdicts) -> tuple[Floats, Ints]:
    """Return the win and the number of the instruction of every verdict, shape (verdicts,)."""
    if isinstance(preferences, Verdicts):
        return preferences.win, preferences.instruction
    win = wins(preferences)
    each = win.shape[1] if win.ndim == 2 else 1
    return win.ravel(), np.repeat(np.arange(len(win)), each)


def _standard_error(sums: Floats, counts: Floats) -> float | None:
    n, total = len(sums), counts.sum()
    if n < 2:
        return None
    deviations = sums - sums.sum() / total * counts
    return float(np.sqrt(n / (n - 1) * np.square(deviations).sum()) / total)
