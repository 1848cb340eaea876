"""Verdicts as tests write them."""

import numpy as np

from mini_lima.evaluation.pairs import Annotation
from mini_lima.statistics import Verdicts


def row(instruction, preference, *, first=None, annotator="judge", **more):
    """A row of annotations.json."""
    return Annotation(
        instruction=str(instruction),
        preference=preference,
        model_first=first,
        annotator=annotator,
        **more,
    )


def verdicts(preferences):
    """A verdict on each instruction, or, of a table, as many as it has columns."""
    values = np.array(preferences, dtype=float)
    values = values.reshape(len(values), -1) - 1
    n, each = values.shape
    return Verdicts(
        instruction=np.repeat(np.arange(n), each),
        model_first=np.full(values.size, np.nan),
        annotator=np.zeros(values.size, dtype=np.int64),
        win=values.ravel(),
        instructions=tuple(map(str, range(n))),
        annotators=("judge",),
    )
