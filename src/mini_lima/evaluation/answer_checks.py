"""What is wrong with answers whatever a judge thinks of them, and when that is worth a warning.

What a template without the assistant header, a missing stop token, a training that diverged or a
length limit that decides the result leave behind can be seen in an answer's text and in what was
asked, and a win rate does not show it. Each sign has false alarms, such as a dialogue that was
asked for. The 805 answers of AlpacaEval's GPT-4 reference have none of these faults.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mini_lima.evaluation.metrics import AnsweredInstruction
from mini_lima.text.language import NAMES_A_LANGUAGE, is_foreign, languages

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


@dataclass(frozen=True)
class Fault:
    """Counted always; a warning from a share that lies above ``threshold``."""

    threshold: float
    words: str


FAULTS = {
    "failed": Fault(0.0, "could not be had"),
    "shortened": Fault(0.0, "had less room in the model's context than evaluation.max_new_tokens"),
    "cut_at_limit": Fault(0.05, "ran into the length limit"),
    "empty": Fault(0.01, "are empty"),
    "starts_with_role": Fault(0.01, "start with a role word (is the template the model's?)"),
    "leaks_turns": Fault(0.01, "run on into further turns (is a stop token missing?)"),
    "repeats_itself": Fault(0.05, "repeat themselves"),
    "other_language": Fault(0.02, "are in another language than they should be"),
}
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}


def faults(answer: "AnsweredInstruction", *, error: str | None, shortened: bool) -> list[str]:
    """Return the names of what is wrong with ``answer``.

    Args:
        answer: It, with what was asked.
        error: Why there is none; None if there is one.
        shortened: Whether it had less room than the length limit allows.
    """
    if error is not None:
        return ["failed"]
    text, instruction, reference = answer.output, answer.instruction, answer.reference
    # Whoever is asked for a dialogue may write one.
    is_dialogue = leaks_turns(f"{instruction}\n{reference or ''}")
    found = {
        "shortened": shortened,
        "cut_at_limit": answer.cut,
        "empty": not text.strip(),
        "starts_with_role": not is_dialogue and starts_with_role(text),
        "leaks_turns": not is_dialogue and leaks_turns(text),
        "repeats_itself": repeats_itself(text),
        "other_language": keeps_language(text, instruction, reference) is False,
    }
    return [name for name, is_so in found.items() if is_so]


def summary(
    answers: "Sequence[AnsweredInstruction]", found: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Return what ``health.json`` says: counts of faults, lengths, and warnings as sentences.

    Args:
        answers: At least one.
        found: The faults of each.
    """
    import numpy as np

    counted = Counter(name for each in found for name in each)
    lengths = {
        "characters": [len(answer.output) for answer in answers],
        "tokens": [answer.tokens for answer in answers],
    }
    return {
        "n": len(answers),
        **{name: counted[name] for name in FAULTS},
        **{f"mean_length_{unit}": float(np.mean(values)) for unit, values in lengths.items()},
        "lengths": {
            unit: {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}
            for unit, values in lengths.items()
        },
        "warnings": [
            f"{counted[name]} of {len(answers)} ({counted[name] / len(answers):.1%}) {fault.words}"
            for name, fault in FAULTS.items()
            if counted[name] > fault.threshold * len(answers)
        ],
    }
