"""The step that makes one data set of two: `mix`."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from annotated_types import Ge, Interval

from mini_lima.data.examples import Example, StepReport
from mini_lima.data.steps import Forecast, forecast_by
from mini_lima.data.subsets import in_place, random_order
from mini_lima.errors import UserError

PREFIX = "other:"
"""Stands before an id of the other data set that this one has too, taken or not."""


def _expect_mixed(data: Sequence[Example], **how: Any) -> Forecast:
    return Forecast(examples=mix(data, **how).examples or ())


@forecast_by(_expect_mixed)
def mix(
    data: Sequence[Example],
    *,
    other: Sequence[Example],
    share: Annotated[float, Interval(gt=0, lt=1)] | None = None,
    n: Annotated[int, Ge(1)] | None = None,
    seed: int = 0,
) -> StepReport:
    """Join two data sets, evenly interleaved; each keeps its order.

    Where both hold the same ids (an arm and its own rewriting), an id is taken from both only as far
    as it must be; in the other data set's example it gets `PREFIX`.

    Args:
        data: One data set.
        other: The other one.
        share: The other's part of the result; None for all of both or, with n, for the parts that
            the two have of all examples.
        n: Examples of the result; None for as many as ``data`` has, of which ``share`` is replaced.
        seed: Decides which examples are taken.

    Raises:
        UserError: one of them has too few examples.
    """
    first, second = _sizes(len(data), len(other), share, n)
    for name, wanted, there in (("data", first, data), ("other", second, other)):
        if wanted > len(there):
            raise UserError(
                f"mix: {wanted} examples of {name} are needed for share={share} and n={n}, and"
                f" there are only {len(there)}"
            )
    taken = in_place(data, random_order(data, seed)[:first])
    # From the other end of the same order: ids that both have are not taken from both.
    beside = in_place(other, random_order(other, seed)[len(other) - second :])
    after = _interleaved(taken, _with_own_ids(beside, {each.id for each in data}))
    return StepReport(after, figures={"of_data": first, "of_other": second})


def _sizes(one: int, two: int, share: float | None, n: int | None) -> tuple[int, int]:
    """Return how many examples are taken from each."""
    if n is None and share is None:
        return one, two
    size = one if n is None else n
    second = math.floor(size * (two / (one + two) if share is None else share) + 0.5)
    return size - second, second


def _with_own_ids(examples: Sequence[Example], taken: set[str]) -> list[Example]:
    used = taken | {each.id for each in examples}
    found: list[Example] = []
    for example in examples:
        id = example.id
        if id in taken:
            while id in used:
                id = PREFIX + id
            used.add(id)
        found.append(replace(example, id=id))
    return found


def _interleaved(one: Sequence[Example], two: Sequence[Example]) -> list[Example]:
    """Return both, each spread evenly over the whole."""
    places = [
        ((number + 0.5) / len(part), which, number)
        for which, part in enumerate((one, two))
        for number in range(len(part))
    ]
    return [(one, two)[which][number] for _, which, number in sorted(places)]
