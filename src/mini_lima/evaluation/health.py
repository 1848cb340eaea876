"""What is wrong with answers whatever a judge thinks of them, and when that is worth a warning.

These are the marks of a wrong chat template, of stop tokens that are missing, of a training that
diverged or of a length limit that decides the result, and a win rate does not show them. The 805
answers of AlpacaEval's GPT-4 reference have none of these faults.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mini_lima.evaluation.answer_checks import (
    keeps_language,
    leaks_turns,
    repeats_itself,
    starts_with_role,
)
from mini_lima.evaluation.metrics import AnsweredInstruction


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
    "starts_with_role": Fault(0.01, "start with a role word (is the template the model's?)"),
    "leaks_turns": Fault(0.01, "run on into further turns (is a stop token missing?)"),
    "repeats_itself": Fault(0.05, "repeat themselves"),
    "other_language": Fault(0.02, "are in another language than they should be"),
}
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}


def faults(answer: AnsweredInstruction, *, error: str | None, shortened: bool) -> list[str]:
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
    answers: Sequence[AnsweredInstruction], found: Sequence[Sequence[str]]
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
