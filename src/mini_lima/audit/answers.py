"""How many of a model's answers show a sign of illness.

Each sign has false alarms (a dialogue that was asked for, a list without a full stop), so the same
is counted for the reference, whose share is what health looks like.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mini_lima.evaluation.answer_checks import SHORT, leaks_turns, repeats_itself, starts_with_role

ENDS = tuple(".!?。！？…:;)]}\"'`*”’»>|~")


@dataclass(frozen=True)
class Health:
    """How many of ``n`` answers show a sign."""

    n: int
    empty: int
    starts_with_role: int
    leaks_turns: int
    repeats_itself: int
    ends_mid_sentence: int


def health(answers: Sequence[str]) -> Health:
    """Count the signs of illness in ``answers``."""
    return Health(
        n=len(answers),
        empty=sum(not answer.strip() for answer in answers),
        starts_with_role=sum(map(starts_with_role, answers)),
        leaks_turns=sum(map(leaks_turns, answers)),
        repeats_itself=sum(map(repeats_itself, answers)),
        ends_mid_sentence=sum(
            len(answer) >= SHORT and not answer.rstrip().endswith(ENDS) for answer in answers
        ),
    )
