"""Student's t with any degrees of freedom, whole or not: what an error estimated from few needs."""

from scipy.special import stdtr, stdtrit


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
