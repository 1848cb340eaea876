"""The files that answers become, whichever engine wrote them.

model_outputs.json   AlpacaEval's schema
answers.jsonl        a row per answer: its length, and what is wrong with it
health.json          what that adds up to
"""

from collections.abc import Sequence
from pathlib import Path

from mini_lima.evaluation import health
from mini_lima.evaluation.questions import Output, Question
from mini_lima.files import write_json, write_jsonl


def write_outputs(
    output_dir: Path,
    questions: Sequence[Question],
    outputs: Sequence[Output],
    *,
    generator: str,
    max_new_tokens: int,
) -> None:
    """Write the three files.

    Args:
        output_dir: Receives them.
        questions: What was asked.
        outputs: The answers, in the same order.
        generator: Name of the model in the outputs.
        max_new_tokens: Length limit of an answer.
    """
    asked = list(zip(questions, outputs, strict=True))
    found = [health.faults(question, output, max_new_tokens) for question, output in asked]
    model_outputs = [
        {
            "instruction": question.reference.instruction,
            "output": output.text,
            "generator": generator,
            "dataset": question.reference.dataset,
        }
        for question, output in asked
    ]
    answers = [
        {"row": row, "characters": len(output.text), "tokens": output.tokens, "faults": faults}
        | ({} if output.error is None else {"error": output.error})
        for row, (output, faults) in enumerate(zip(outputs, found, strict=True), start=1)
    ]
    write_json(output_dir / "model_outputs.json", model_outputs)
    write_jsonl(output_dir / "answers.jsonl", answers)
    write_json(output_dir / "health.json", health.summary(outputs, found))
