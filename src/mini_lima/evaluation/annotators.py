"""What a judge does: it puts a pair into its prompt and reads the answer, or decides by a rule.

Which judges there are, and what tells them apart, is in `judges`.

Text of models and users never becomes part of the template. The library fills prompts by repeated
replacement and splits the result into chat messages afterwards: an instruction that contains
``{output_1}`` or ``<|im_start|>`` rewrites the prompt. Here the bare template is split first, by
the library's own function, and its messages are then filled in a single pass.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from mini_lima.evaluation.library import Shown

PLACEHOLDERS = ("instruction", "output_1", "output_2")
PLACEHOLDER = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")


@dataclass(frozen=True)
class Completion:
    """What an annotator said; a rule says its preference.

    Attributes:
        text: As it was written.
        finish_reason: As the endpoint says it.
        served_model: The model that the endpoint says it used.
        logprobs: Per token its alternatives, in OpenAI's form.
        usage: Token counts as reported; of a verdict among several in one answer, its share.
        usd: What it cost, if that is known; shared out likewise.
        attempts: How often it was asked until it could be read, or given up.
        error: Why there is none, as `mini_lima.chat` says it.
    """

    text: str
    finish_reason: str | None = None
    served_model: str | None = None
    logprobs: Sequence[Mapping[str, Any]] | None = None
    usage: Mapping[str, Any] | None = None
    usd: float | None = None
    attempts: int = 1
    error: str | None = None


@dataclass(frozen=True)
class Annotator:
    """A judge.

    Attributes:
        name: Of its prompt, of its rule, or of the member of a pool.
        prompt: (role, template) pairs with the placeholders ``{instruction}``, ``{output_1}`` and
            ``{output_2}``, each for one pair after the other; empty for a rule.
        votes: The preferences in a completion in their order, each from 1 (the first output) to 2
            (the second), None for one that cannot be read. Never raises.
        batch: How many pairs one prompt asks about.
        extra: Parameters of the request that the reading depends on.
        max_tokens: What the config allows for an answer to several pairs; 0 to one.
        decide: A rule's preference on what is shown, given the name of the occasion.
        members: The annotators of a pool, of which each instruction has one; empty for no pool.
        prompt_sha256: Of the prompt's file, in hex; of a pool, of its members' together.
    """

    name: str
    prompt: tuple[tuple[str, str], ...]
    votes: Callable[[Completion], Sequence[float | None]]
    batch: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 0
    decide: Callable[[Shown, str], float | None] | None = None
    members: tuple["Annotator", ...] = ()
    prompt_sha256: str | None = None

    def messages(self, *shown: Shown) -> tuple[tuple[str, str], ...]:
        """Return the (role, content) pairs that ask about ``shown``, as many as a batch has."""
        assert len(shown) == self.batch
        texts = {
            "instruction": cycle([each.instruction for each in shown]),
            "output_1": cycle([each.first for each in shown]),
            "output_2": cycle([each.second for each in shown]),
        }
        return tuple(
            (role, PLACEHOLDER.sub(lambda found: next(texts[found[1]]), template))
            for role, template in self.prompt
        )

    def read_all(self, completion: Completion) -> list[float | None]:
        """Return a preference for each pair of the batch: all of them, or none.

        With a verdict too few or too many nobody knows which belongs to which pair.
        """
        found = [] if completion.error is not None else list(self.votes(completion))
        return found if len(found) == self.batch and None not in found else [None] * self.batch

    def read(self, completion: Completion) -> float | None:
        """Return the preference of an annotator that is asked about one pair at a time."""
        (found,) = self.read_all(completion)
        return found

    def member(self, instruction: str, seed: int) -> "Annotator":
        """Return who judges ``instruction``: itself, or the member of the pool that is drawn.

        alpaca_eval draws it by the same text, so that a rerun asks the same one.
        """
        if not self.members:
            return self
        return random.Random(f"annotator{instruction}{seed}").choices(self.members)[0]
