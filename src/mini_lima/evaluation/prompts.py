"""Prompts of judges: from a text to chat messages, and how the answers to one's own are read.

A prompt is AlpacaEval's: plain text, or turns between ``<|im_start|>`` and ``<|im_end|>``, with the
placeholders ``{instruction}``, ``{output_1}`` and ``{output_2}``. What would make every verdict
fail is found when the file is read: a placeholder that is missing, turns that do not end, answers
that the prompt never asks for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.evaluation import reading
from mini_lima.evaluation.annotators import PLACEHOLDER, PLACEHOLDERS, Completion

TURN = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)<\|im_end\|>", re.DOTALL)
LLAMA_TURN = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*(.*?)\s*(?:<\|eot_id\|>|$)", re.DOTALL
)
"""A turn in a prompt that is written in Llama 3's tokens."""
ROLES = ("system", "user", "assistant")
NAMED, EXACT, LAST, WEIGHTED = "named", "exact", "last", "weighted"
READINGS: Mapping[str, str] = {
    NAMED: "answers Output (a) or Output (b)",
    EXACT: "is one of the given answers and nothing else",
    LAST: "ends its reasoning with one of the given answers",
    WEIGHTED: "is one of two tokens, weighted with the probabilities of both",
}
"""How an answer is read, by what it says."""

Messages = tuple[tuple[str, str], ...]
Votes = Callable[[Completion], Sequence[float | None]]


def messages_of(prompt: str) -> Messages:
    """Return the (role, template) pairs of a prompt; one without turns is a user's message."""
    if prompt.lstrip().startswith("<|im_start|>"):
        return tuple((role.strip(), text.strip()) for role, text in TURN.findall(prompt))
    if prompt.startswith("<|start_header_id|>"):
        return tuple((role, text) for role, text in LLAMA_TURN.findall(prompt) if text)
    return (("user", prompt.removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant:")),)


def read_own(path: Path, how: str, answers: Sequence[str]) -> Messages:
    """Read a prompt file of one's own.

    Args:
        path: UTF-8.
        how: One of `READINGS`.
        answers: What it lets the model answer: the first output is better, the second, and a tie
            where it may say so; none for ``named``.

    Raises:
        UserError: it cannot be read, or no answer to it could be.
    """
    try:
        prompt = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
    found = messages_of(prompt.strip())
    outside = TURN.sub("", prompt) if "<|im_start|>" in prompt else ""
    if outside.strip() or any(role not in ROLES for role, _ in found):
        raise UserError(
            f"{path}: each turn is <|im_start|>system, user or assistant, a new line, its text and"
            " <|im_end|>, with nothing between turns"
        )
    templates = "\n".join(template for _, template in found)
    there = set(PLACEHOLDER.findall(templates))
    if lacking := [f"{{{each}}}" for each in PLACEHOLDERS if each not in there]:
        raise UserError(f"{path}: lacks {', '.join(lacking)}: a judge's prompt shows all three")
    asked = [answer for answer in answers or ("(a)", "(b)") if answer not in templates]
    if asked:
        raise UserError(
            f"{path}: never says {' or '.join(asked)}, which its answers are read by ({how}): give"
            " the reading and the answers that it asks for, as reading=exact answers=[A,B]"
        )
    return found


def check_answers(key: str, how: str, answers: Sequence[str]) -> None:
    """Refuse ``answers`` that do not go with the reading.

    Raises:
        UserError: as it says.
    """
    most = {NAMED: (0, 0), WEIGHTED: (2, 2)}.get(how, (2, 3))
    distinct = len(set(answers)) == len(answers) and all(
        each.strip() == each != "" for each in answers
    )
    if not most[0] <= len(answers) <= most[1] or not distinct:
        needs = {
            NAMED: "none, for the answer is Output (a) or Output (b)",
            WEIGHTED: "two: the token for the first output, and that for the second",
        }.get(how, "two or three: for the first output, for the second, and for a tie")
        raise UserError(f"{key}.answers={list(answers)}: {key}.reading={how} takes {needs}")


def votes_by(how: str, answers: Sequence[str]) -> Votes:
    """Return what reads an answer; ``weighted`` is AlpacaEval's own, see `shipped.weighted`."""
    preferences = dict(zip(answers, (1.0, 2.0, 1.5), strict=False))
    if how == NAMED:
        return lambda completion: [reading.chosen(completion.text)]
    if how == EXACT:
        return lambda completion: [preferences.get(completion.text.strip())]
    assert how == LAST
    either = "|".join(re.escape(each) for each in sorted(answers, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)")

    def last(completion: Completion) -> list[float | None]:
        found = pattern.findall(completion.text)
        is_cut = completion.finish_reason == "length"  # reasoning may name what it then rejects
        return [preferences[found[-1]] if found and not is_cut else None]

    return last
