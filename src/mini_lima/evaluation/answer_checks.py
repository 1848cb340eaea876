"""Signs of illness in an answer, from its text and from what was asked.

What a template without the assistant header, a missing stop token or a training that diverged leave
behind can be seen afterwards. Each sign has false alarms, such as a dialogue that was asked for.
"""

import re
import zlib

from mini_lima.language import NAMES_A_LANGUAGE, is_foreign, languages

ROLE = r"(?:assistant|user|system|human|ai|bot)"
STARTS_WITH_ROLE = re.compile(rf"\s*(?:<\|im_start\|>|<\|)?\s*{ROLE}(?:\s*:|\s*\n|\|>|\s*$)", re.I)
NEW_TURN = re.compile(
    rf"\n\s*(?:\#+\s*)?(?:{ROLE}\s*:?\s*\n|(?:user|human|assistant)\s*:)"
    r"|<\|(?:im_start|im_end|endoftext|eot_id)\|>|\[/?INST\]|\n\#+\s*(?:instruction|input)\s*:",
    re.I,
)
SHORT = 200
"""Characters (or bytes) below which an answer is judged neither cut nor repetitive."""
REPETITIVE = 0.2
"""Compressed share of its size below which a text repeats itself; prose needs 0.35 to 0.6."""


def starts_with_role(text: str) -> bool:
    """Whether ``text`` begins as a turn of a conversation does, such as ``assistant:``."""
    return STARTS_WITH_ROLE.match(text) is not None


def leaks_turns(text: str) -> bool:
    """Whether ``text`` goes on with further turns of a conversation."""
    return NEW_TURN.search(text.strip()) is not None


def repeats_itself(text: str) -> bool:
    """Whether ``text`` says the same again and again; never of a short one."""
    written = text.encode(errors="replace")
    return len(written) >= SHORT and len(zlib.compress(written, 9)) < REPETITIVE * len(written)


def keeps_language(text: str, instruction: str, reference: str | None) -> bool | None:
    """Whether ``text`` is in a language that instruction or reference is in.

    Returns:
        None where that is no question: the instruction names a language, or neither of the two is
        plainly in one.
    """
    expected = languages([instruction, reference or ""])
    if not expected or NAMES_A_LANGUAGE.search(instruction):
        return None
    # A word that is said again says nothing more about the language.
    words = " ".join(dict.fromkeys(text.split()))
    return not is_foreign(words, expected)
