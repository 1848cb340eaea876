"""The files of an evaluation: instructions with references, model outputs, and verdicts on both.

An evaluation file is a JSON list, or JSON Lines, of rows with an ``instruction`` (or ``prompt``)
each. An ``input`` belongs to it: model and judge are asked both together, as in training. AlpacaEval's
schema adds the reference's ``output``, which judges compare with and which a set that is measured by
metrics alone need not have. Whatever other fields a row has are its metrics'; what would have to be
a part of the question, and cannot be, is refused.

alpaca_eval joins the two tables and goes on with what matches: a model that answered half of the
instructions gets a win rate on that half, and one that occurs twice on both sides is judged four
times. Here both sides must hold the same instructions; repeated ones are paired in order.
"""

import hashlib
import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import is_not_blank, typed, validated, write_json
from mini_lima.files.tables import HALF_A_CHARACTER, Malformed, Row, empty, read_json_rows
from mini_lima.models.rendering import question

ANNOTATIONS = "annotations.json"
INSTRUCTION = ("instruction", "prompt")
"""The fields that a row's instruction may be in; the first of them that is there counts."""
READ = ("input", "dataset")
"""The other fields that every evaluation reads, besides whose ``output`` it is."""
MORE_CONTEXT = (
    *("system", "system_prompt", "history", "messages", "conversation", "conversations", "turns"),
    *("tools", "functions", "image", "images", "audio", "video", "videos"),
)
"""Fields that would be a part of the question; one with a value is refused."""


@dataclass(frozen=True)
class EvaluationRow:
    """One row of an evaluation file.

    Attributes:
        instruction: What a model is asked, the row's ``input`` included.
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
    """The two answers to one instruction.

    Attributes:
        reference: With which the model's is compared.
        model: The model's.
        missing: Why the model has none, in one line; None if it has.
    """

    reference: Answer
    model: Answer
    missing: str | None = None

    @property
    def differs(self) -> bool:
        """Whether there is anything to judge: equal outputs are a tie."""
        return self.missing is None and self.reference.output != self.model.output


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A verdict on one presentation of a pair: a row of annotations.json.

    Attributes:
        instruction: What was asked.
        dataset: Where it is from.
        output_1: The reference's answer.
        generator_1: Whose that is.
        output_2: The model's answer.
        generator_2: Whose that is.
        annotator: The judge's name.
        preference: From 1 (output_1 wins) to 2 (output_2 wins), whatever the order shown; None of
            a verdict that failed.
        is_failed: Whether it did.
        failure: Why.
        detail: Why a request has failed, in one line for people.
        model_first: Whether output_2 was shown first; None if nobody was asked or nobody knows.
        repeat: How many times the same was asked before.
        raw_completion: What the judge said.
        finish_reason: As the endpoint says it.
        served_model: The model that the endpoint says it used.
        usage: Token counts as reported; of a verdict among several in one answer, its share.
        usd: What it cost, if that is known; shared out likewise.
        attempts: How often it was asked until it could be read, or given up.
        member: Which of a pool's annotators said it; None where there is no pool.
        judged_together: How many pairs it was said about.
    """

    instruction: str
    dataset: str | None = None
    output_1: str | None = None
    generator_1: str = ""
    output_2: str | None = None
    generator_2: str = ""
    annotator: str = ""
    preference: float | None
    is_failed: bool = False
    failure: str | None = None
    detail: str | None = None
    model_first: bool | None = None
    repeat: int = 0
    raw_completion: str | None = None
    finish_reason: str | None = None
    served_model: str | None = None
    usage: Mapping[str, Any] | None = None
    usd: float | None = None
    attempts: int = 0
    member: str | None = None
    judged_together: int = 1


def write_annotations(folder: Path, rows: Iterable[Annotation]) -> None:
    """Write annotations.json, without what only few rows have: pools, several pairs, failures."""
    documents = [asdict(row) for row in rows]
    for document in documents:
        for name, usual in (("member", None), ("judged_together", 1), ("detail", None)):
            if document[name] == usual:
                del document[name]
    write_json(folder / ANNOTATIONS, documents)


def read_annotations(folder: Path) -> list[Annotation]:
    """Read annotations.json.

    Raises:
        UserError: it cannot be read, or a field of a row is not what it should be.
    """
    return typed(folder / ANNOTATIONS, list[Annotation])


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
    asked = Counter(answer.instruction for answer in references)
    answered = Counter(answer.instruction for answer in answers)
    for verb, found in (("lacks", asked - answered), ("adds", answered - asked)):
        if found:
            shown = " ".join(next(iter(found)).split())[:60]
            raise UserError(
                f"{model_outputs} {verb} {found.total()} of the instructions of"
                f" {reference_outputs}, such as {shown!r}: both must hold the same"
                f" {asked.total()} instructions"
            )
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
            raise UserError(f"{path}, row {number}: output: text is needed, found None")
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
    rows = [_row(row, f"{path}, {row.place}", unnamed) for row in read_json_rows(path)]
    if not rows:
        raise UserError(f"{path}: there is no row in it")
    return rows


def _row(row: Row, place: str, unnamed: str) -> EvaluationRow:
    given = row.value
    if isinstance(given, Malformed):
        raise UserError(f"{place}: {given.detail}")
    if not isinstance(given, dict):
        raise UserError(f"{place}: an object with instruction and output was expected")
    if HALF_A_CHARACTER.search(json.dumps(given, ensure_ascii=False)):
        raise UserError(f"{place}: holds half a surrogate pair; write it as U+FFFD")
    for name in MORE_CONTEXT:
        if not empty(given.get(name)):
            raise UserError(
                f"{place}: {name}: a row asks one question, in instruction and input, and this would"
                " be left out of it: write it into the instruction, or take it out"
            )
    asked = next((name for name in INSTRUCTION if name in given), INSTRUCTION[0])
    known = {
        "output": None,
        **given,
        "generator": given.get("generator") or unnamed,
        "dataset": given.get("dataset") if isinstance(given.get("dataset"), str) else None,
        "fields": {k: v for k, v in given.items() if k not in (asked, "output", "generator")},
    }
    if asked in given:
        known["instruction"] = given[asked]
    found = validated(place, known, EvaluationRow)
    material = given.get("input")
    if not isinstance(material, str | None):
        raise UserError(f"{place}: input: text was expected, found {material!r:.40}")
    if not is_not_blank(found.instruction):
        raise UserError(f"{place}: {asked}: must not be blank")
    return replace(found, instruction=question(found.instruction, material))


def digest_of_answers(answers: Sequence[Answer]) -> str:
    """Return the sha256 of the [instruction, output] pairs, in order, as a JSON list."""
    pairs = [[answer.instruction, answer.output] for answer in answers]
    text = json.dumps(pairs, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
