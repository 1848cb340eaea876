"""A metric: a number for every answer."""

from collections.abc import Sequence

from mini_lima.evaluation import AnsweredInstruction


def exclamation_marks(answers: Sequence[AnsweredInstruction]) -> list[float | None]:
    """Count the exclamation marks of each answer."""
    return [float(answer.output.count("!")) for answer in answers]
