"""Evaluation files, and model outputs that are brought together with them by instruction.

An evaluation file is a JSON list, or JSON Lines, of rows with an ``instruction`` (or ``prompt``)
each. AlpacaEval's schema adds the reference's ``output``, which judges compare with and which a set
that is measured by metrics alone need not have. Whatever other fields a row has are its metrics'.

alpaca_eval joins the two tables and goes on with what matches: a model that answered half of the
instructions gets a win rate on that half, and one that occurs twice on both sides is judged four
times. Here both sides must hold the same instructions; repeated ones are paired in order.
"""

import hashlib
import json
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError

INSTRUCTION = ("instruction", "prompt")
"""The fields that a row's instruction may be in; the first of them that is there counts."""


@dataclass(frozen=True)
class EvaluationRow:
    """One row of an evaluation file.

    Attributes:
        instruction: What a model is asked.
        output: The reference's answer; None if the file has none.
        generator: Whose answer it is.
        dataset: Where the instruction is from.
        fields: All other fields of the row, ``dataset`` among them.
    """

    instruction: str
    output: str | None
    generator: str
    dataset: str | None
    fields: Mapping[str, Any]


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
    """Read an evaluation file, or model outputs, whose rows must all have an output.

    Raises:
        UserError: as `read_rows`; a row without an ``output``.
    """
    answers = []
    for number, row in enumerate(read_rows(path, unnamed=unnamed), start=1):
        if row.output is None:
            raise UserError(f"{path}, row {number}: 'output' must be text, found None")
        answers.append(Answer(row.instruction, row.output, row.generator, row.dataset))
    return answers


def read_rows(path: Path, *, unnamed: str = "reference") -> list[EvaluationRow]:
    """Read an evaluation file.

    Args:
        path: A JSON list of objects, or an object per line.
        unnamed: Whose outputs they are, where a row does not say it.

    Raises:
        UserError: unreadable, empty, or a row that lacks text; rows are counted from 1.
    """
    try:
        rows = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: a JSON list of instructions, or a line for each, was expected")
    return [_row(row, f"{path}, row {k}", unnamed) for k, row in enumerate(rows, start=1)]


def _parsed(text: str) -> Any:
    """The rows of a JSON document, or of JSON Lines, which begin with an object."""
    try:
        whole = json.loads(text)
        return [whole] if isinstance(whole, dict) else whole
    except json.JSONDecodeError:
        if not text.lstrip().startswith("{"):
            raise
    rows = []
    # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    return rows


def digest_of_answers(answers: Sequence[Answer]) -> str:
    """Return the sha256 of the [instruction, output] pairs, in order, as a JSON list."""
    pairs = [[answer.instruction, answer.output] for answer in answers]
    text = json.dumps(pairs, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _row(row: Any, place: str, unnamed: str) -> EvaluationRow:
    if not isinstance(row, dict):
        raise UserError(f"{place}: an object with 'instruction' and 'output' was expected")
    asked = next((name for name in INSTRUCTION if name in row), INSTRUCTION[0])
    for name in (asked, "output"):
        text = row.get(name)
        if name == "output" and text is None:
            continue
        if not isinstance(text, str):
            raise UserError(f"{place}: {name!r} must be text, found {text!r}")
        if not _is_unicode(text):
            raise UserError(f"{place}: {name!r} holds half a surrogate pair; write it as U+FFFD")
    generator, dataset = row.get("generator"), row.get("dataset")
    return EvaluationRow(
        instruction=row[asked],
        output=row.get("output"),
        generator=generator if isinstance(generator, str) and generator else unnamed,
        dataset=dataset if isinstance(dataset, str) else None,
        fields={k: v for k, v in row.items() if k not in (asked, "output", "generator")},
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
