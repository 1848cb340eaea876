"""The stage between model outputs and numbers: health checks and metrics over all answers.

scores.jsonl   a row per answer: the number of each metric, which of them failed, and its faults
metrics.json   each metric's unit, and which numbers are better
health.json    what the faults add up to
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.evaluation import answer_checks
from mini_lima.evaluation.metrics import ANSWERS, AnsweredInstruction, Metric
from mini_lima.evaluation.pairs import read_answers, read_rows
from mini_lima.files import read_jsonl, typed, write_json, write_jsonl
from mini_lima.files import read_rows as read_typed_rows
from mini_lima.results import Better
from mini_lima.store import targets

log = logging.getLogger(__name__)
SCORES, METRICS, HEALTH = "scores.jsonl", "metrics.json", "health.json"


@dataclass(frozen=True)
class Scores:
    """What metrics and checks say of one answer.

    Attributes:
        instruction: What was asked.
        repeat: How many times it stands in the set before.
        scores: By metric; None of one that does not apply to the instruction, or failed.
        failed: The metrics that should have a number and have none.
        faults: What is wrong with the answer whatever metrics say of it.
    """

    instruction: str
    repeat: int
    scores: dict[str, float | None]
    failed: list[str]
    faults: list[str]


@dataclass(frozen=True)
class Unit:
    """What is known of a metric beside its numbers."""

    unit: str
    better: Better | None


def read_metrics(folder: Path) -> dict[str, Unit]:
    """Return the metrics of a finished stage by name."""
    return typed(folder / METRICS, dict[str, Unit])


def read_scores(folder: Path) -> list[Scores]:
    """Return what a finished stage says of each answer."""
    return [scores for _, scores in read_typed_rows(folder / SCORES, Scores)]


def measure(
    output_dir: Path,
    *,
    model_outputs: Path,
    reference_outputs: Path,
    limit: int | None,
    max_new_tokens: int,
    metrics: Mapping[str, Metric],
) -> None:
    """Write the three files.

    An answer that could not be had has failed in each metric that applies to its instruction.

    Args:
        output_dir: Receives them.
        model_outputs: Folder with what `write_outputs` writes.
        reference_outputs: The evaluation file that was answered.
        limit: Only the first so many instructions were.
        max_new_tokens: Length limit of an answer.
        metrics: By name.

    Raises:
        UserError: a metric that does not return a fitting number for each answer.
    """
    rows = read_rows(reference_outputs)[:limit]
    outputs = read_answers(model_outputs / "model_outputs.json", unnamed="model")
    facts = read_jsonl(model_outputs / "answers.jsonl")
    if [row.instruction for row in rows] != [output.instruction for output in outputs]:
        raise UserError(f"{model_outputs}: does not answer the instructions of {reference_outputs}")
    answers = [
        AnsweredInstruction(
            instruction=row.instruction,
            output=output.output,
            reference=row.output,
            tokens=fact["tokens"],
            cut=fact["cut"],
            fields=row.fields,
        )
        for row, output, fact in zip(rows, outputs, facts, strict=True)
    ]
    errors = [fact.get("error") for fact in facts]
    faults = [
        answer_checks.faults(answer, error=error, shortened=fact["room"] < max_new_tokens)
        for answer, error, fact in zip(answers, errors, facts, strict=True)
    ]
    values = {name: _values(name, metric, answers) for name, metric in metrics.items()}
    seen: Counter[str] = Counter()
    scores = []
    for at, answer in enumerate(answers):
        here = {name: column[at] for name, column in values.items()}
        failed = [
            name
            for name, value in here.items()
            if value is not None and (errors[at] is not None or math.isnan(value))
        ]
        scores.append(
            Scores(
                instruction=answer.instruction,
                repeat=seen[answer.instruction],
                scores=here | dict.fromkeys(failed),
                failed=failed,
                faults=faults[at],
            )
        )
        seen[answer.instruction] += 1
    units = {name: {"unit": each.unit, "better": each.better} for name, each in metrics.items()}
    found = answer_checks.summary(answers, faults)
    write_jsonl(output_dir / SCORES, map(asdict, scores))
    write_json(output_dir / METRICS, units)
    write_json(output_dir / HEALTH, found)
    if found["warnings"]:
        log.warning("answers of %s: %s", outputs[0].generator, "; ".join(found["warnings"]))


def _values(
    name: str, metric: Metric, answers: Sequence[AnsweredInstruction]
) -> list[float | None]:
    """What a metric says of ``answers``.

    Raises:
        UserError: something other than a number that fits its unit, or None, for each of them.
    """
    where = f"metrics.{name}"
    given = {targets.TARGET: metric.function, **metric.keywords}
    target = targets.load(where, given, provided=(ANSWERS,))
    try:
        returned = target.function(answers, **target.keywords)
    except Exception as error:
        error.add_note(f"in {metric.function}, the metric {where}")
        raise
    if not isinstance(returned, Iterable):
        raise UserError(f"{where}: {metric.function} returned no list of numbers: {returned!r:.40}")
    if len(values := list(returned)) != len(answers):
        raise UserError(
            f"{where}: {metric.function} returned {len(values)} numbers for {len(answers)} answers"
        )
    return [_value(f"{where}: {metric.function}", value, metric.unit) for value in values]


def _value(where: str, value: Any, unit: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where} returned {value!r}; a number, or None, was expected") from None
    if math.isinf(number) or (unit == "percent" and not (math.isnan(number) or 0 <= number <= 1)):
        fits = (
            "a share from 0 to 1, for _unit_: percent" if unit == "percent" else "a finite number"
        )
        raise UserError(f"{where} returned {number}; {fits}, was expected")
    return number
