"""The verdicts that are not there: are they a random part?

A win rate over those that could be read is that of all only if what is missing is missing by
chance. So the missing are compared with the others in what was shown first and in the length of the
answer; the p-value says how easily chance does as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mini_lima.audit.rows import Row
from mini_lima.statistics import association_p, two_groups_p


@dataclass(frozen=True)
class Missing:
    """The verdicts that are not there, and whether they are a random part.

    ``n_invalid`` of the ``n`` had a value that is no preference, ``n_absent`` have no row at all.
    The medians are characters of the model's answers; percentages are of the verdicts asked for in
    that order.
    """

    n: int
    n_invalid: int
    n_absent: int
    percent: float
    percent_first: float | None
    percent_second: float | None
    order_p: float | None
    median_length: float | None
    median_length_judged: float | None
    length_p: float | None


def missing(rows: Sequence[Row], *, seed: int, samples: int) -> Missing:
    """Describe the verdicts without a preference."""
    gone = np.array([row["preference"] is None for row in rows])
    first = np.array([row["model_first"] is True for row in rows])
    second = np.array([row["model_first"] is False for row in rows])
    length = np.array(
        [np.nan if row["output_2"] is None else len(row["output_2"]) for row in rows], dtype=float
    )
    ordered, measured = first | second, ~np.isnan(length)
    chance = {"seed": seed, "samples": samples}
    return Missing(
        n=int(gone.sum()),
        n_invalid=sum(row["is_invalid"] for row in rows),
        n_absent=sum(row["is_absent"] for row in rows),
        percent=100 * float(gone.mean()),
        percent_first=100 * float(gone[first].mean()) if first.any() else None,
        percent_second=100 * float(gone[second].mean()) if second.any() else None,
        order_p=exchanged_p(gone[ordered].astype(float), first[ordered], **chance),
        median_length=_median(length[gone & measured]),
        median_length_judged=_median(length[~gone & measured]),
        length_p=_length_p(rows, gone, length, **chance),
    )


def exchanged_p(values: Any, first: Any, *, seed: int, samples: int) -> float | None:
    """Return the p-value of equal means, None if a group is empty."""
    if not first.any() or first.all():
        return None
    return two_groups_p(values, first, seed=seed, samples=samples)


def _length_p(rows: Sequence[Row], gone: Any, length: Any, **chance: Any) -> float | None:
    """Return the p-value of as many missing verdicts on short answers as on long ones.

    The verdicts on an answer may be missing together, so whole answers are exchanged.
    """
    shares: dict[tuple[object, object], list[bool]] = {}
    for row, is_gone, size in zip(rows, gone, length, strict=True):
        if not np.isnan(size):
            shares.setdefault((row["instruction"], row["output_2"]), []).append(bool(is_gone))
    missing = np.array([np.mean(each) for each in shares.values()])
    sizes = np.log1p([len(str(output)) for _, output in shares])
    if not len(missing) or missing.min() == missing.max():
        return None
    return association_p(sizes, missing, **chance)


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None
