"""Student's t with any degrees of freedom, whole or not: what an error estimated from few needs.

With t = √ν · cot ψ the density becomes sin^(ν−1) ψ, and the tail lies between 0 and arccot(t / √ν)
(after Abramowitz and Stegun, 1964, 26.7.1). With ψ = u² it is smooth enough at 0 for Gauss and
Legendre's rule to give eight digits of the tail, however far out it is.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np

from mini_lima.evaluation.statistics.table import Floats

NODES = 100
HALVINGS = 34


def two_sided_p(t: float, freedom: float) -> float:
    """Return the probability of a value at least as far from 0 as ``t``.

    Args:
        t: Of either sign.
        freedom: Degrees of freedom, at least 1; infinity is the normal distribution.
    """
    if math.isinf(freedom):
        return 2 * NormalDist().cdf(-abs(t))
    most = math.sqrt(math.atan2(math.sqrt(freedom), abs(t)))
    at, weights = _rule()
    u = most / 2 * (at + 1)
    tail = most / 2 * float(weights @ (2 * u * np.sin(u**2) ** (freedom - 1)))
    whole = math.lgamma(0.5) + math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)
    return min(1.0, 2 * tail / math.exp(whole))


def quantile(p: float, freedom: float) -> float:
    """Return the distance from 0 that is reached with the two-sided probability ``p``.

    Args:
        p: Above 0, at most 1: 0.05 gives the quantile of a 95% interval.
        freedom: As for `two_sided_p`.
    """
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > p:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > p else (low, middle)
    return high


@cache
def _rule() -> tuple[Floats, Floats]:
    at, weights = np.polynomial.legendre.leggauss(NODES)
    return at, weights
