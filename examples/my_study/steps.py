"""A step: what one's own arm does to the examples before it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from annotated_types import Interval

from mini_lima.data import Example


def halve(
    data: Sequence[Example], *, ratio: Annotated[float, Interval(gt=0, lt=1)]
) -> Sequence[Example]:
    """Keep the beginning of every output: the share ``ratio`` of its words, one at least."""
    shorter = []
    for example in data:
        words = example.output.split()
        kept = words[: max(1, round(ratio * len(words)))]
        shorter.append(replace(example, output=" ".join(kept)))
    return shorter
