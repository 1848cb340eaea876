"""Reference outputs and model outputs, brought together by instruction.

alpaca_eval joins the two tables and goes on with what matches: a model that answered half of the
instructions gets a win rate on that half, and one that occurs twice on both sides is judged four
times. Here both sides must hold the same instructions; repeated ones are paired in order.
"""

import hashlib
import json
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_json


@dataclass(frozen=True)
class Answer:
    """One row of AlpacaEval's schema: who (``generator``) answered what, and how."""

    instruction: str
    output: str
    generator: str
    dataset: str | None


@dataclass(frozen=True)
class Pair:
    """The two answers to one instruction."""

    reference: Answer
    model: Answer

    @property
    def differs(self) -> bool:
        """Whether there is anything to judge: equal outputs are a tie."""
        return self.reference.output != self.model.output


def read_pairs(
    reference_outputs: Path, model_outputs: Path, limit: int | None = None
) -> list[Pair]:
    """Pair the two files, in the order of the reference, of which ``limit`` takes the beginning.

    Raises:
        UserError: a file that is not in AlpacaEval's schema, with file and row; instructions that
            only one of the two answers.
    """
    references = read_answers(reference_outputs, unnamed="reference")[:limit]
    answers = read_answers(model_outputs, unnamed="model")
    _check_same_instructions(references, answers, reference_outputs, model_outputs)
    waiting: defaultdict[str, deque[Answer]] = defaultdict(deque)
    for answer in answers:
        waiting[answer.instruction].append(answer)
    return [Pair(reference, waiting[reference.instruction].popleft()) for reference in references]


def read_answers(path: Path, *, unnamed: str) -> list[Answer]:
    """Read a list of {"instruction", "output", "generator", "dataset"}; the last two may be absent.

    Raises:
        UserError: unreadable, empty, or a row that lacks text; rows are counted from 1.
    """
    try:
        rows = read_json(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: a JSON list of instructions with outputs was expected")
    return [_answer(row, f"{path}, row {k}", unnamed) for k, row in enumerate(rows, start=1)]


def digest_of_answers(answers: Sequence[Answer]) -> str:
    """Return the sha256 of the [instruction, output] pairs, in order, as a JSON list."""
    pairs = [[answer.instruction, answer.output] for answer in answers]
    text = json.dumps(pairs, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _answer(row: Any, place: str, unnamed: str) -> Answer:
    if not isinstance(row, dict):
        raise UserError(f"{place}: an object with 'instruction' and 'output' was expected")
    for name in ("instruction", "output"):
        if not isinstance(row.get(name), str):
            raise UserError(f"{place}: {name!r} must be text, found {row.get(name)!r}")
        if not _is_unicode(row[name]):
            raise UserError(f"{place}: {name!r} holds half a surrogate pair; write it as U+FFFD")
    generator, dataset = row.get("generator"), row.get("dataset")
    return Answer(
        instruction=row["instruction"],
        output=row["output"],
        generator=generator if isinstance(generator, str) and generator else unnamed,
        dataset=dataset if isinstance(dataset, str) else None,
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_same_instructions(
    references: Sequence[Answer], answers: Sequence[Answer], asked_in: Path, answered_in: Path
) -> None:
    asked = Counter(answer.instruction for answer in references)
    answered = Counter(answer.instruction for answer in answers)
    for count, verb, example in (
        ((asked - answered).total(), "lacks", asked - answered),
        ((answered - asked).total(), "adds", answered - asked),
    ):
        if count:
            shown = " ".join(next(iter(example)).split())[:60]
            raise UserError(
                f"{answered_in} {verb} {count} of the instructions of {asked_in}, such as "
                f"{shown!r}: both must hold the same {asked.total()} instructions"
            )
