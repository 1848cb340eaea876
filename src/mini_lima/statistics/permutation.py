"""P-values without a model of the data, and the correction for asking several questions.

Each test says what could have been exchanged if nothing were there (Fisher, The Design of
Experiments, 1935), exchanges it, and counts how often chance does as well as the data. Small cases
are enumerated; large ones are drawn, and the data themselves count as one draw, without which a
p-value could be 0 (Phipson and Smyth, Permutation P-values should never be zero, 2010).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mini_lima.statistics.intervals import DRAWN_AT_ONCE
from mini_lima.statistics.table import Floats

EXACT_BELOW = 15
"""Differences up to which all 2^n signs are tried: 32,768, as quick as the draws."""
ROUNDING = 1e-9
"""Sums that differ by less are the same sum in another order."""


def sign_flip_p(differences: Floats, *, seed: int, samples: int = 10_000) -> float:
    """Return the two-sided p-value of a mean difference of 0, by flipping signs.

    Were two models equally good, each instruction's difference could as well have had the other
    sign. Differences of 0 have none and are left out, which changes no p-value.

    Args:
        differences: One per instruction, shape (instructions,), without NaN.
        seed: Of the draws, where there are any.
        samples: Number of draws.
    """
    signed = differences[differences != 0]
    n, found = len(signed), abs(signed.sum()) - ROUNDING
    if n <= EXACT_BELOW:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float(np.mean(np.abs(signs @ signed) >= found))
    rng = np.random.default_rng(seed)
    extreme = sum(
        int(
            (
                np.abs((1 - 2 * rng.integers(2, size=(size, n), dtype=np.int8)) @ signed) >= found
            ).sum()
        )
        for size in _chunks(samples, n)
    )
    return (1 + extreme) / (1 + samples)


def two_groups_p(
    values: Floats, first: NDArray[np.bool_], *, seed: int, samples: int = 10_000
) -> float:
    """Return the two-sided p-value of equal means in two groups, by exchanging the labels.

    Args:
        values: Shape (n,), without NaN.
        first: Which of them are in the first group; both groups have a member.
        seed: Of the draws.
        samples: Number of draws.
    """
    return association_p(values, first.astype(np.float64), seed=seed, samples=samples)


def association_p(values: Floats, others: Floats, *, seed: int, samples: int = 10_000) -> float:
    """Return the two-sided p-value of no correlation, by exchanging ``others`` between the rows.

    Where ``others`` say which of two groups a value is in, this compares the groups' means.

    Args:
        values: Shape (n,), without NaN.
        others: Of the same shape.
        seed: Of the draws.
        samples: Number of draws.
    """
    n = len(values)
    centred = values - values.mean()
    # Any constant may be taken off the others, for the centred values sum up to 0.
    weights = others - np.median(others)
    used = weights != 0
    found = abs(centred[used] @ weights[used]) - ROUNDING
    rng = np.random.default_rng(seed)
    extreme = 0
    for drawn in _chunks(samples, n):
        shuffled = rng.permuted(np.broadcast_to(centred, (drawn, n)), axis=1)[:, : used.sum()]
        extreme += int((np.abs(shuffled @ weights[used]) >= found).sum())
    return (1 + extreme) / (1 + samples)


def homogeneity_p(values: Floats, *, seed: int, samples: int = 10_000) -> float:
    """Return the p-value of all columns having one mean, by exchanging values within each row.

    Were several runs one judge's, an instruction's verdicts could have fallen to any of them. The
    statistic is the spread of the columns' means; for yes and no it orders the exchanges as
    Cochran's Q does (The comparison of percentages in matched samples, 1950).

    Args:
        values: Shape (instructions, runs), without NaN.
        seed: Of the draws.
        samples: Number of draws.
    """
    centred = values - values.mean(axis=1, keepdims=True)
    informative = centred[np.abs(centred).max(axis=1, initial=0) > 0]
    found = np.square(centred.sum(axis=0)).sum() - ROUNDING
    rng = np.random.default_rng(seed)
    extreme = 0
    for drawn in _chunks(samples, max(informative.size, 1)):
        shuffled = rng.permuted(np.broadcast_to(informative, (drawn, *informative.shape)), axis=2)
        extreme += int((np.square(shuffled.sum(axis=1)).sum(axis=1) >= found).sum())
    return (1 + extreme) / (1 + samples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of a family so that one false alarm among all is as rare as they say.

    Holm, A simple sequentially rejective multiple test procedure, 1979: the smallest is multiplied
    by the size of the family, the next by one less, and none falls below an earlier one.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = highest
    return adjusted


def _chunks(samples: int, width: int) -> Iterator[int]:
    """Yield how many draws of ``width`` values to hold at a time, ``samples`` in all."""
    at_once = max(1, DRAWN_AT_ONCE // max(width, 1))
    for start in range(0, samples, at_once):
        yield min(at_once, samples - start)
