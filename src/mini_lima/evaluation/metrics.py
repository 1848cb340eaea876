"""Metrics: a number for each answer, from a function that the configuration names.

A metric is a function of all answers of a model and of keywords of its own. It returns a number for
each answer: None where it does not apply to that instruction (a check of one that has nothing to
check), ``math.nan`` where it should and could not. It may be anybody's, in whatever package:

    def questions(answers: Sequence[AnsweredInstruction], *, most: int = 3) -> list[float]:
        return [float(answer.output.count("?") <= most) for answer in answers]

Beside ``_target_`` and the keywords, ``_unit_`` says what the number is and ``_better_`` which
numbers are better. Values in ``percent`` are shares from 0 to 1.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mini_lima.errors import UserError
from mini_lima.evaluation.answer_checks import keeps_language, repeats_itself
from mini_lima.evaluation.instruction_checks import IDS, KEYWORDS, read_checks
from mini_lima.evaluation.pairs import READ, EvaluationRow
from mini_lima.files.tables import name_unused
from mini_lima.store import targets

UNIT = re.compile(r"[A-Za-z][A-Za-z0-9 /²-]{0,23}")
BETTER = ("higher", "lower", None)
ANSWERS = "answers"
"""The argument that a metric is given."""
FIELDS_CHECK = "__check_fields__"
OURS = "mini_lima."
"""How the dotted names of our own metrics begin."""


@dataclass(frozen=True)
class AnsweredInstruction:
    """An instruction of the evaluation set and a model's answer to it.

    Attributes:
        instruction: What was asked.
        output: The answer; empty where none could be had.
        reference: The reference's answer; None if the evaluation set has none.
        tokens: Length of the answer, without the token that ends it.
        cut: Whether the length limit ended the answer, and not the model.
        fields: What else stands in the evaluation set's row, such as ``dataset``.
    """

    instruction: str
    output: str
    reference: str | None
    tokens: int
    cut: bool
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A metric as it is configured, and as it is part of a stage's identity.

    Attributes:
        function: Its dotted name.
        keywords: As the configuration gives them.
        unit: Of the numbers; ``percent`` if they are shares from 0 to 1.
        better: ``higher`` or ``lower`` numbers; None: neither.
        code: The sha256 of its source file, if it is not ours.
    """

    function: str
    keywords: dict[str, Any]
    unit: str
    better: str | None
    code: str | None


def resolve(configured: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the metrics of ``metrics`` in the configuration, by their names there.

    Args:
        configured: For each name ``_target_``, keywords, ``_unit_`` and ``_better_``; None for a
            metric that is taken out.

    Raises:
        UserError: a function that cannot be had, or keywords that it does not take.
    """
    return {
        name: _metric(f"metrics.{name}", given)
        for name, given in configured.items()
        if given is not None
    }


def _metric(where: str, given: Any) -> Metric:
    if not isinstance(given, Mapping):
        raise UserError(f"{where}={given!r}: must be a table with {targets.TARGET}, or null")
    unit, better = given.get("_unit_", "points"), given.get("_better_")
    if not isinstance(unit, str) or not UNIT.fullmatch(unit):
        raise UserError(f"{where}._unit_={unit!r:.40}: must be a short word; percent is for shares")
    if better not in BETTER:
        raise UserError(f"{where}._better_={better}: must be higher, lower or null")
    own = (targets.TARGET, "_unit_", "_better_")
    if unknown := [key for key in given if key.startswith("_") and key not in own]:
        raise UserError(f"{where}.{unknown[0]}: no such key; there are {', '.join(own)}")
    keywords = {key: value for key, value in given.items() if key not in own}
    target = targets.load(where, given, provided=(ANSWERS,))
    return Metric(target.name, keywords, unit, better, target.code)


def checks_fields(
    check: Callable[[Mapping[str, Any]], object],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a metric that reads fields of the evaluation set's rows.

    Args:
        check: Takes the fields of a row, and raises UserError if something is wrong with them.
            It is called for each row before any work is done.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, FIELDS_CHECK, check)
        return function

    return mark


def check_fields(path: Path, rows: Sequence[EvaluationRow], functions: Collection[str]) -> None:
    """Have metrics look at the fields of the evaluation set that they will read.

    Fields that nothing reads are named in the log; a metric of a user's own may read any.

    Args:
        path: The evaluation file.
        rows: What is in it.
        functions: The dotted names of the metrics.

    Raises:
        UserError: something is wrong with a row of ``path``; rows are counted from 1.
    """
    found = [getattr(targets.find("metrics", name), FIELDS_CHECK, None) for name in functions]
    checks = dict.fromkeys(filter(None, found))
    for number, row in enumerate(rows, start=1):
        for check in checks:
            try:
                check(row.fields)
            except UserError as error:
                raise UserError(f"{path}, row {number}: {error}") from error
    if all(name.startswith(OURS) for name in functions):
        read = (*READ, *((IDS, KEYWORDS) if checks else ()))
        name_unused(path, [row.fields for row in rows], read)


def characters(answers: Sequence[AnsweredInstruction]) -> list[float]:
    """Length in characters."""
    return [len(answer.output) for answer in answers]


def words(answers: Sequence[AnsweredInstruction]) -> list[float]:
    """Length in words, which are what stands between spaces."""
    return [len(answer.output.split()) for answer in answers]


def tokens(answers: Sequence[AnsweredInstruction]) -> list[float]:
    """Length in tokens of the model that answered."""
    return [answer.tokens for answer in answers]


def ended(answers: Sequence[AnsweredInstruction]) -> list[float]:
    """1 where the model ended its answer, 0 where the length limit did."""
    return [float(not answer.cut) for answer in answers]


def repetition(answers: Sequence[AnsweredInstruction]) -> list[float]:
    """1 where the answer says the same again and again, else 0."""
    return [float(repeats_itself(answer.output)) for answer in answers]


def language(answers: Sequence[AnsweredInstruction]) -> list[float | None]:
    """1 where the answer is in the language it should be in, 0 where it is plainly in another.

    None where the instruction names a language, or where instruction and reference are plainly in
    none.
    """
    kept = [keeps_language(each.output, each.instruction, each.reference) for each in answers]
    return [None if each is None else float(each) for each in kept]


def chrf(
    answers: Sequence[AnsweredInstruction], *, word_order: Literal[0, 1, 2] = 0
) -> list[float | None]:
    """Similarity to the reference, from 0 to 100: the F-score of n-grams of characters.

    None where there is no reference.

    Args:
        answers: What was answered.
        word_order: Longest n-grams of words that count, too; 2 is chrF++.
    """
    from sacrebleu.metrics.chrf import CHRF

    score = CHRF(word_order=word_order).sentence_score
    return [
        None if answer.reference is None else score(answer.output, [answer.reference]).score
        for answer in answers
    ]


@checks_fields(read_checks)
def instructions_followed(
    answers: Sequence[AnsweredInstruction],
    *,
    loose: bool = False,
    level: Literal["prompt", "instruction"] = "prompt",
) -> list[float | None]:
    """IFEval's accuracy: what the row's checks say of the answer; None where a row has none.

    Args:
        answers: What was answered.
        loose: Let a check hold also without the first line, the last line or asterisks.
        level: 1 where all checks of the ``prompt`` hold, else 0; or the share of its checks
            (``instruction``), of which the mean counts prompts with many checks as one.
    """
    values: list[float | None] = []
    for answer in answers:
        held = [check.holds(answer.output, loose=loose) for check in read_checks(answer.fields)]
        share = sum(held) / len(held) if held else None
        values.append(float(share == 1) if share is not None and level == "prompt" else share)
    return values
