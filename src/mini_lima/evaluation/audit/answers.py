"""Signs of illness in a model's answers, from their text alone.

What a template without the assistant header, a missing stop token or too low a limit leave behind
can be seen afterwards. Each sign has false alarms (a dialogue that was asked for, a list without a
full stop), so the same is counted for the reference, whose share is what health looks like.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

ROLE = r"(?:assistant|user|system|human|ai|bot)"
STARTS_WITH_ROLE = re.compile(rf"\s*(?:<\|im_start\|>|<\|)?\s*{ROLE}(?:\s*:|\s*\n|\|>|\s*$)", re.I)
NEW_TURN = re.compile(
    rf"\n\s*(?:\#+\s*)?(?:{ROLE}\s*:?\s*\n|(?:user|human|assistant)\s*:)"
    r"|<\|(?:im_start|im_end|endoftext|eot_id)\|>|\[/?INST\]|\n\#+\s*(?:instruction|input)\s*:",
    re.I,
)
ENDS = tuple(".!?。！？…:;)]}\"'`*”’»>|~")
SHORT = 200
"""Characters (or bytes) below which an answer is judged neither cut nor repetitive."""
REPETITIVE = 0.2
"""Compressed share of its size below which a text repeats itself; prose needs 0.35 to 0.6."""


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
        starts_with_role=sum(bool(STARTS_WITH_ROLE.match(answer)) for answer in answers),
        leaks_turns=sum(bool(NEW_TURN.search(answer.strip())) for answer in answers),
        repeats_itself=sum(map(_repeats_itself, answers)),
        ends_mid_sentence=sum(
            len(answer) >= SHORT and not answer.rstrip().endswith(ENDS) for answer in answers
        ),
    )


def _repeats_itself(answer: str) -> bool:
    text = answer.encode(errors="replace")
    return len(text) >= SHORT and len(zlib.compress(text, 9)) < REPETITIVE * len(text)
