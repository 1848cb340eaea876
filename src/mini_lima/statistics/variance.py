"""How much of a verdict is the instruction, how much the order, how much the repeat.

A verdict's variance splits without any assumption (the law of total variance): between the
instructions' own means, between the two orders of an instruction, and between repeats of the same
question. The two orders are all there are, not a sample of orders, so their part vanishes once both
are asked (Cornfield and Tukey, Average values of mean squares in factorials, 1956), while the part
of the repeats shrinks with their number and that of the instructions with theirs.

The estimator is the analysis of variance by the method of moments for unbalanced nested data
(Searle, Casella and McCulloch, Variance Components, 1992, chapter 5): mean squares, less what the
levels below add to them. What chance makes negative is 0.
"""

import numpy as np

from mini_lima.results import VarianceSplit
from mini_lima.statistics.table import Floats, Verdicts, mean_of, totals


def split_variance(verdicts: Verdicts, minus: Verdicts | None = None) -> VarianceSplit:
    """Split the variance of one annotator's verdicts, or of their difference from others.

    Args:
        verdicts: On one model.
        minus: On another, whose verdict on the same instruction in the same order is subtracted:
            what pairing removes is then gone, and what both add is there twice.
    """
    means, noise, repeats = _cells(verdicts, verdicts.instructions)
    if minus is not None:
        others, their_noise, their_repeats = _cells(minus, verdicts.instructions)
        means, noise = means - others, noise + their_noise
        repeats = (
            None if None in (repeats, their_repeats) else (repeats or 0) + (their_repeats or 0)
        )

    both = ~np.isnan(means).any(axis=1)
    halves = (means[both, 0] - means[both, 1]) / 2
    orders = None
    if both.any():
        orders = max(float((np.square(halves) - noise[both].sum(axis=1) / 4).mean()), 0.0)

    judged = ~np.isnan(means).all(axis=1)
    present = ~np.isnan(means[judged])
    each = present.sum(axis=1)
    own = np.nansum(means[judged], axis=1) / each
    added = np.where(present, noise[judged], 0.0).sum(axis=1) / each**2
    added += np.where(each == 1, orders or 0.0, 0.0)
    instructions = None
    if len(own) > 1:
        instructions = max(float(own.var(ddof=1) - added.mean()), 0.0)
    return VarianceSplit(instructions, orders, repeats, len(own))


def _cells(
    verdicts: Verdicts, instructions: tuple[str, ...]
) -> tuple[Floats, Floats, float | None]:
    """Return each order's mean and that mean's variance through repeats, and the repeats' variance.

    The first two have shape (instructions, 2). Verdicts whose order is not known count for an
    instruction that has no others, and stand in the first column.
    """
    known = ~np.isnan(verdicts.model_first)
    ordered = np.bincount(verdicts.instruction[known], minlength=len(verdicts.instructions)) > 0
    verdicts = verdicts.only(known | ~ordered[verdicts.instruction])
    n = len(instructions)
    number = {text: k for k, text in enumerate(instructions)}
    here = np.array([number.get(text, n) for text in verdicts.instructions], dtype=np.int64)
    cell = here[verdicts.instruction] * 2 + (verdicts.model_first == 0)
    sums, counts = totals(verdicts.win, cell, 2 * n + 2)
    squares, _ = totals(np.square(verdicts.win), cell, 2 * n + 2)
    sums, counts, squares = sums[: 2 * n], counts[: 2 * n], squares[: 2 * n]
    means = mean_of(sums, counts)
    freedom = np.maximum(counts - 1, 0).sum()
    within = max(float(np.nansum(squares - counts * np.square(means))), 0.0)
    repeats = within / float(freedom) if freedom else None
    noise = mean_of(np.full(2 * n, repeats or 0.0), counts)
    return means.reshape(n, 2), noise.reshape(n, 2), repeats
