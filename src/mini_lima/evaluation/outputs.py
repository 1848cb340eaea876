"""The instructions as a model is asked them, and the files that the answers of any engine become.

What does not fit is found here, before anything is generated. A prompt that leaves no room for an
answer is refused; one that leaves less than the length limit gets as much as there is, and is
counted. Written is what was generated, and no more:

model_outputs.json   AlpacaEval's schema
answers.jsonl        a row per answer: how long it is, how long it could have been, how it ended
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mini_lima.errors import UserError, listed
from mini_lima.evaluation.pairs import EvaluationRow, read_rows
from mini_lima.files import write_json, write_jsonl
from mini_lima.models.rendering import ChatTemplate

ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Question:
    """One instruction.

    Attributes:
        row: The row it is from.
        repeat: How many earlier rows have the same instruction.
        prompt: Its tokens.
        room: Tokens that the answer may have.
    """

    row: EvaluationRow
    repeat: int
    prompt: list[int]
    room: int


@dataclass(frozen=True)
class Output:
    """What came of a question.

    Attributes:
        text: The answer as the annotator will see it.
        tokens: Its length, without the token that ends it.
        cut: Whether its length limit ended it.
        error: Why there is no answer, as a reason code; None if there is one.
        detail: The same in one line for people.
    """

    text: str
    tokens: int
    cut: bool
    error: str | None = None
    detail: str | None = None


def read_questions(
    reference_outputs: Path,
    *,
    limit: int | None,
    template: ChatTemplate,
    context: int | None,
    max_new_tokens: int,
) -> list[Question]:
    """Read the first ``limit`` instructions.

    Args:
        reference_outputs: An evaluation file, see `read_rows`.
        limit: None for all.
        template: Renders the prompts.
        context: Tokens of prompt and answer that the model can look at; None if there is no end.
        max_new_tokens: Length limit of an answer.

    Raises:
        UserError: the file is not in the schema; prompts that leave no room for an answer.
    """
    rows = read_rows(reference_outputs)[:limit]
    prompts = [template.prompt(row.instruction) for row in rows]
    if context is not None:
        _check_that_all_fit([len(prompt) for prompt in prompts], context, reference_outputs)
    seen: Counter[str] = Counter()
    questions = []
    for row, prompt in zip(rows, prompts, strict=True):
        room = max_new_tokens if context is None else min(max_new_tokens, context - len(prompt))
        questions.append(Question(row, seen[row.instruction], prompt, room))
        seen[row.instruction] += 1
    return questions


def _check_that_all_fit(lengths: Sequence[int], context: int, file: Path) -> None:
    too_long = [row for row, length in enumerate(lengths, start=1) if length >= context]
    if too_long:
        raise UserError(
            f"{file}: the instructions in row {', '.join(listed(too_long))}"
            f" ({len(too_long)} of {len(lengths)}) have up to"
            f" {max(lengths)} tokens with their template and leave no room for an answer in the"
            f" model's context of {context}: take them out of the set"
        )


def write_outputs(
    output_dir: Path, questions: Sequence[Question], outputs: Sequence[Output], *, generator: str
) -> None:
    """Write the two files.

    Args:
        output_dir: Receives them.
        questions: What was asked.
        outputs: The answers, in the same order.
        generator: Name of the model in the outputs.
    """
    asked = list(zip(questions, outputs, strict=True))
    model_outputs = [
        {
            "instruction": question.row.instruction,
            "output": output.text,
            "generator": generator,
            "dataset": question.row.dataset,
        }
        for question, output in asked
    ]
    answers = [
        {"row": row, "tokens": output.tokens, "room": question.room, "cut": output.cut}
        | ({} if output.error is None else {"error": output.error, "detail": output.detail})
        for row, (question, output) in enumerate(asked, start=1)
    ]
    write_json(output_dir / "model_outputs.json", model_outputs)
    write_jsonl(output_dir / ANSWERS, answers)
