"""The files that answers become, whichever engine wrote them: what was generated, and no more.

model_outputs.json   AlpacaEval's schema
answers.jsonl        a row per answer: how long it is, how long it could have been, how it ended
"""

from collections.abc import Sequence
from pathlib import Path

from mini_lima.evaluation.questions import Output, Question
from mini_lima.files import write_json, write_jsonl


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
        | ({} if output.error is None else {"error": output.error})
        for row, (question, output) in enumerate(asked, start=1)
    ]
    write_json(output_dir / "model_outputs.json", model_outputs)
    write_jsonl(output_dir / "answers.jsonl", answers)
