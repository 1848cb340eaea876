"""Does the annotator say the same when only what should not matter changes?

Three things should not matter: who stands first, asking again, and who is asked. Verdicts are
compared as AlpacaEval's ``discrete_win_rate`` rounds them: the reference wins, a tie, the model
wins. "How often do two verdicts differ" is asked of all pairs of verdicts on an instruction, so
each instruction counts once however often it was judged.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mini_lima.results import Agreement, Consistency
from mini_lima.statistics.intervals import percentile_interval, resampled_totals
from mini_lima.statistics.table import Floats, Verdicts, percent, totals


def consistency(
    verdicts: Verdicts, *, seed: int, confidence: float = 0.95, samples: int = 10_000
) -> Consistency:
    """Measure how consistent the verdicts are; the bootstrap resamples instructions."""
    n = len(verdicts.instructions)
    first, second = verdicts.model_first == 1, verdicts.model_first == 0
    sums_1, counts_1 = totals(verdicts.win[first], verdicts.instruction[first], n)
    sums_2, counts_2 = totals(verdicts.win[second], verdicts.instruction[second], n)
    rate_1, rate_2 = _ratio(sums_1.sum(), counts_1.sum()), _ratio(sums_2.sum(), counts_2.sum())
    columns = np.column_stack([sums_1, counts_1, sums_2, counts_2])[(counts_1 + counts_2) > 0]
    resampled = resampled_totals(columns, seed=seed, samples=samples)
    with np.errstate(invalid="ignore"):
        effects = resampled[:, 0] / resampled[:, 1] - resampled[:, 2] / resampled[:, 3]
    low, high = percentile_interval(effects, len(columns), confidence)

    said = [_counts(verdicts, order) for order in (first, second)]
    both = _differ(*said)
    again = np.concatenate([_differ_again(counts) for counts in said])
    read = verdicts.win[~np.isnan(verdicts.win)]
    return Consistency(
        win_rate_first=percent(rate_1),
        n_first=int(counts_1.sum()),
        win_rate_second=percent(rate_2),
        n_second=int(counts_2.sum()),
        order_effect=percent(rate_1 - rate_2),
        order_effect_low=percent(low),
        order_effect_high=percent(high),
        order_disagreement=_percent_mean(both),
        n_both_orders=len(both),
        tie_rate=_percent_mean(read == 0.5),
        flip_rate=_percent_mean(again),
        n_repeated=len(again),
        agreements=_agreements(verdicts, said),
    )


def _agreements(verdicts: Verdicts, said: list[Floats]) -> tuple[Agreement, ...]:
    """Compare the annotators pairwise; ``said`` has the counts of each order by instruction."""
    shape = (len(verdicts.instructions), len(verdicts.annotators), 3)
    by_annotator = [counts.reshape(shape) for counts in said]
    found = []
    for a, b in combinations(range(len(verdicts.annotators)), 2):
        ours = np.concatenate([counts[:, a] for counts in by_annotator])
        theirs = np.concatenate([counts[:, b] for counts in by_annotator])
        both = (ours.sum(axis=1) > 0) & (theirs.sum(axis=1) > 0)
        agreement = chance = np.nan
        if both.any():
            one, other = _normalised(ours[both]), _normalised(theirs[both])
            agreement = float((one * other).sum(axis=1).mean())
            chance = float(one.mean(axis=0) @ other.mean(axis=0))
        kappa = None if not chance < 1 else (agreement - chance) / (1 - chance)
        names = (verdicts.annotators[a], verdicts.annotators[b])
        found.append(Agreement(names, percent(agreement), kappa, int(both.sum())))
    return tuple(found)


def _counts(verdicts: Verdicts, rows: NDArray[np.bool_]) -> Floats:
    """Count the losses, ties and wins among ``rows``, shape (instructions × annotators, 3)."""
    rows = rows & ~np.isnan(verdicts.win)
    outcome = 1 + np.sign(verdicts.win[rows] - 0.5).astype(np.int64)
    annotators = len(verdicts.annotators)
    cell = verdicts.instruction[rows] * annotators + verdicts.annotator[rows]
    size = len(verdicts.instructions) * annotators
    return np.bincount(cell * 3 + outcome, minlength=size * 3).reshape(size, 3).astype(np.float64)


def _differ(one: Floats, other: Floats) -> Floats:
    """Return how often a verdict of ``one`` differs from one of ``other``, where both have some."""
    both = (one.sum(axis=1) > 0) & (other.sum(axis=1) > 0)
    same: Floats = (_normalised(one[both]) * _normalised(other[both])).sum(axis=1)
    return 1 - same


def _differ_again(counts: Floats) -> Floats:
    """Return how often two of a cell's verdicts differ, where it has two."""
    n = counts.sum(axis=1)
    counts, n = counts[n > 1], n[n > 1]
    same: Floats = (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))
    return 1 - same


def _normalised(counts: Floats) -> Floats:
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _ratio(total: float, count: float) -> float:
    return total / count if count else np.nan


def _percent_mean(values: Floats | NDArray[np.bool_]) -> float | None:
    return percent(float(values.mean())) if len(values) else None
