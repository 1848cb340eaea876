"""What metrics say of answers, read as the statistics take it: the same columns as verdicts.

A metric has one number per answer and no order of outputs. One that does not apply to an
instruction has no row there; one that should and failed has a row without a number, and is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mini_lima.files import read_json, read_jsonl
from mini_lima.measured import Better
from mini_lima.statistics import Verdicts

SCORES, METRICS = "scores.jsonl", "metrics.json"
Row = Mapping[str, Any]
"""``instruction``, ``scores`` (numbers or null by metric) and ``failed`` (metrics)."""


@dataclass(frozen=True)
class Metric:
    """What is known of a metric beside its numbers."""

    unit: str
    better: Better | None


def read_metrics(folder: Path) -> dict[str, Metric]:
    """Return the metrics of a finished stage by name."""
    found = read_json(folder / METRICS)
    return {name: Metric(each["unit"], each["better"]) for name, each in found.items()}


def read_scores(folder: Path) -> list[Row]:
    """Return the rows of a finished stage."""
    return list(read_jsonl(folder / SCORES))


def table_of(rows: Sequence[Row], metric: str) -> Verdicts:
    """Return the scores of ``metric``; every instruction keeps its number, scored or not."""
    instructions = {text: k for k, text in enumerate(dict.fromkeys(r["instruction"] for r in rows))}
    told = [
        (instructions[row["instruction"]], row["scores"].get(metric))
        for row in rows
        if row["scores"].get(metric) is not None or metric in row["failed"]
    ]
    return Verdicts(
        instruction=np.array([number for number, _ in told], dtype=np.int64),
        model_first=np.full(len(told), np.nan),
        annotator=np.zeros(len(told), dtype=np.int64),
        win=np.array([score for _, score in told], dtype=np.float64),
        instructions=tuple(instructions),
        annotators=(metric,),
    )
