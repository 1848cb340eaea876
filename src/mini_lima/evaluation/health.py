"""What is wrong with answers whatever a judge thinks of them, and when that is worth a warning.

Each fault is a rule that a reader can check, made to be right when it speaks: the 805 answers of
AlpacaEval's GPT-4 reference have none of them. They are the marks of a wrong chat template, of stop
tokens that are missing, of a training that diverged or of a length limit that decides the result,
and a win rate does not show them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mini_lima.evaluation.questions import Output, Question
from mini_lima.language import NAMES_A_LANGUAGE, is_foreign, languages


@dataclass(frozen=True)
class Fault:
    """Counted always; a warning from a share that lies above ``threshold``."""

    threshold: float
    words: str


FAULTS = {
    "failed": Fault(0.0, "could not be had and count as empty"),
    "shortened": Fault(0.0, "had less room in the model's context than evaluation.max_new_tokens"),
    "cut_at_limit": Fault(0.05, "ran into the length limit"),
    "empty": Fault(0.01, "are empty"),
    "role_word_first": Fault(0.01, "begin with a role word, such as assistant"),
    "further_turns": Fault(0.01, "go on with further turns of the conversation"),
    "repeating": Fault(0.05, "repeat themselves"),
    "other_language": Fault(0.02, "are in another language than they should be"),
}
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}

ROLE = r"(?:system|user|assistant|human)"
ROLE_WORD_FIRST = re.compile(rf"\A\s*{ROLE}[ \t]*(?::|\n|\Z)", re.IGNORECASE)
FURTHER_TURN = re.compile(
    rf"^[ \t#*]*{ROLE}[ \t*]*(?::|$)|^#+ (?:instruction|response)\b|<\|\w+\|>|\[/?INST\]",
    re.IGNORECASE | re.MULTILINE,
)
EAST_ASIAN = r"\u3040-\u30ff\u3400-\u9fff"
PIECE = re.compile(rf"[{EAST_ASIAN}]|[^\W{EAST_ASIAN}]{{1,12}}|[^\w\s]")
"""A word, a piece of a very long one, a character of a script without spaces, or a sign."""
GRAM = 8
REPEATED = 0.5
FEWEST_GRAMS = 20


def faults(question: Question, output: Output, max_new_tokens: int) -> list[str]:
    """Return the names of what is wrong with ``output``."""
    if output.error is not None:
        return ["failed"]
    text, instruction, reference = output.text, question.reference.instruction, question.reference
    expected = languages([instruction, reference.output])
    # Whoever is asked for a dialogue may write one.
    is_dialogue = FURTHER_TURN.search(f"{instruction}\n{reference.output}") is not None
    # A word that is said again says nothing more about the language.
    words = " ".join(dict.fromkeys(text.split()))
    found = {
        "shortened": question.room < max_new_tokens,
        "cut_at_limit": output.cut,
        "empty": not text.strip(),
        "role_word_first": not is_dialogue and ROLE_WORD_FIRST.match(text) is not None,
        "further_turns": not is_dialogue
        and FURTHER_TURN.search(ROLE_WORD_FIRST.sub("", text)) is not None,
        "repeating": repetition(text) > REPEATED,
        "other_language": is_foreign(words, expected) and not NAMES_A_LANGUAGE.search(instruction),
    }
    return [name for name, is_so in found.items() if is_so]


def repetition(text: str) -> float:
    """Return the share of the 8-grams of ``text`` that it had before; 0 for short texts.

    Source: seq-rep-n of Welleck et al. 2020, *Neural Text Generation with Unlikelihood Training*,
    section 6, over words in place of tokens.
    """
    pieces = PIECE.findall(text.casefold())
    grams = [tuple(pieces[at : at + GRAM]) for at in range(len(pieces) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) >= FEWEST_GRAMS else 0.0


def summary(outputs: Sequence[Output], found: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return what ``health.json`` says: counts of faults, lengths, and warnings as sentences.

    Args:
        outputs: At least one.
        found: The faults of each.
    """
    import numpy as np

    counted = Counter(name for each in found for name in each)
    lengths = {
        "characters": [len(output.text) for output in outputs],
        "tokens": [output.tokens for output in outputs],
    }
    return {
        "n": len(outputs),
        **{name: counted[name] for name in FAULTS},
        **{f"mean_length_{unit}": float(np.mean(values)) for unit, values in lengths.items()},
        "lengths": {
            unit: {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}
            for unit, values in lengths.items()
        },
        "warnings": [
            f"{counted[name]} of {len(outputs)} ({counted[name] / len(outputs):.1%}) {fault.words}"
            for name, fault in FAULTS.items()
            if counted[name] > fault.threshold * len(outputs)
        ],
    }
