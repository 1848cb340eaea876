"""Up to 20 instructions with all answers side by side and what the annotator said of each.

The instructions are spread evenly over the evaluation set and not chosen by anybody. Long answers
are cut so that a sweep of many cells still makes a page of less than two megabytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import escape

from mini_lima.report.answers import by_instruction, in_words
from mini_lima.report.figures import Word
from mini_lima.report.html import printable, shortened
from mini_lima.report.page.data import Evaluated, ReportData

MOST = 20
MOST_ROWS = 8
MOST_VERDICTS = 6
LONGEST = 1500
BUDGET = 600_000
"""Bytes for all answers together, as they are written."""


@dataclass(frozen=True)
class Answer:
    """An answer with the verdicts on it: place of the answer, and word; the reference has none."""

    name: str
    text: str | None
    verdicts: Sequence[tuple[str, Word]] = ()


@dataclass(frozen=True)
class Question:
    """An instruction with the answers in each row of the table."""

    instruction: str
    rows: Mapping[str, Sequence[Answer]]


@dataclass(frozen=True)
class Answers:
    """What is shown, and how many rows of the table are not."""

    questions: Sequence[Question]
    rows: int
    left_out: int


def shown(data: ReportData) -> Answers:
    """Return the answers of the first rows; of several training seeds, the first one's."""
    judged: dict[tuple[str, str], Evaluated] = {}
    for each in data.evaluated:
        if each.verdicts:
            judged.setdefault((each.at.row, each.at.column), each)
    every = list(dict.fromkeys(row for row, _ in judged))
    rows = every[:MOST_ROWS]
    found = [
        (each.at, by_instruction(each.verdicts)) for each in judged.values() if each.at.row in rows
    ]
    asked = spread([*found[0][1]]) if found else []
    most = BUDGET // max(1, len(asked) * (len(found) + len(rows) + 1))
    questions = []
    for instruction in asked:
        known = [own[instruction][0]["output_1"] for _, own in found if instruction in own]
        reference = Answer("reference", cut(known[0], most))
        of_rows = {
            row: [*(_answer(at.column, own.get(instruction), most) for at, own in group), reference]
            for row, group in groupby(found, key=lambda pair: pair[0].row)
        }
        questions.append(Question(cut(instruction, most), of_rows))
    return Answers(questions, len(rows), len(every) - len(rows))


def spread(instructions: Sequence[str]) -> list[str]:
    """Return at most 20 of ``instructions``, at even distances from the first on."""
    if len(instructions) <= MOST:
        return list(instructions)
    return [instructions[number * len(instructions) // MOST] for number in range(MOST)]


def cut(answer: str, most: int) -> str:
    """Return ``answer`` in at most about ``most`` bytes of markup, and say what was left out."""
    kept = min(len(answer), LONGEST)
    while len(escape(printable(answer[:kept])).encode()) > most:
        kept = int(kept * 0.8)
    return shortened(answer, kept)


def _answer(column: str, rows: Sequence[Mapping[str, Any]] | None, most: int) -> Answer:
    if not rows:
        return Answer(column, None)
    verdicts = [_verdict(row) for row in rows[:MOST_VERDICTS]]
    return Answer(column, cut(rows[0]["output_2"], most), verdicts)


def _verdict(row: Mapping[str, Any]) -> tuple[str, Word]:
    """What the annotator said, with the place of the model's answer where it is known."""
    preference, first = row.get("preference"), row.get("model_first")
    words = in_words(preference)
    if preference is None:
        words = f"failed ({row.get('failure') or 'no verdict'})"
    look = "good" if preference == 2 else "bad" if preference in (None, 1) else None
    return "" if first is None else "first: " if first else "second: ", Word(words, look)
