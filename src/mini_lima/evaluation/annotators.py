"""Who judges: the annotators that alpaca_eval ships, and controls that need no model.

A win rate can be compared with published ones only if the prompt is AlpacaEval's own, so it is
taken from the installed library by the name of its annotator config (see `shipped`). The model is
named by the run, for the models that these configs name are mostly gone.

Text of models and users never becomes part of the template. The library fills prompts by repeated
replacement and splits the result into chat messages afterwards: an instruction that contains
``{output_1}`` or ``<|im_start|>`` rewrites the prompt. Here the bare template is split first, by
the library's own function, and its messages are then filled in a single pass.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mini_lima.evaluation.library import Shown

PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")
LONGEST, COIN = "longest", "coin"


@dataclass(frozen=True)
class Completion:
    """What an annotator said; a control says its verdict.

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
        name: The name of alpaca_eval's config, of a control, or of a member.
        prompt: (role, template) pairs with the placeholders ``{instruction}``, ``{output_1}`` and
            ``{output_2}``, each ``batch`` times; empty for a control that asks no model.
        votes: The preferences in a completion in their order, each from 1 (the first output) to 2
            (the second), None for one that cannot be read. Never raises.
        batch: How many pairs one prompt asks about.
        extra: Parameters of the request that the reading depends on.
        max_tokens: What the config allows for an answer to several pairs; 0 to one.
        decide: A control's verdict on what is shown, given the name of the occasion.
        members: The annotators of a pool, of which each instruction has one; empty for no pool.
    """

    name: str
    prompt: tuple[tuple[str, str], ...]
    votes: Callable[[Completion], Sequence[float | None]]
    batch: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 0
    decide: Callable[[Shown, str], str] | None = None
    members: tuple["Annotator", ...] = ()

    def messages(self, *shown: Shown) -> tuple[tuple[str, str], ...]:
        """Return the (role, content) pairs that ask about ``shown``, as many as a batch has."""
        assert len(shown) == self.batch
        texts = {
            "instruction": iter([each.instruction for each in shown]),
            "output_1": iter([each.first for each in shown]),
            "output_2": iter([each.second for each in shown]),
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


def longest(shown: Shown, occasion: str = "") -> str:
    """Prefer the output with more characters; equal lengths are a tie.

    AlpacaEval lists this control among its annotators but ships no config for it. Its own analysis
    gives equal lengths to the second output, which would favour whichever model stands there.
    """
    first, second = len(shown.first), len(shown.second)
    return "1.5" if first == second else "1" if first > second else "2"


def coin(shown: Shown, occasion: str) -> str:
    """Toss a coin on each ``occasion``: what a judge without any opinion looks like."""
    return random.Random(f"{occasion} {shown.instruction}").choice(["1", "2"])


CONTROLS: Mapping[str, Callable[[Shown, str], str]] = {LONGEST: longest, COIN: coin}
"""Annotators that need no model, no key and no money."""


def load_annotator(name: str) -> Annotator:
    """Return a control, or the annotator that alpaca_eval ships under ``name``.

    Raises:
        UserError: there is no such config, or it asks for something that is not followed here.
    """
    if name in CONTROLS:
        return Annotator(name, prompt=(), votes=_verdict_itself, decide=CONTROLS[name])
    from mini_lima.evaluation.shipped import load_shipped

    return load_shipped(name, controls=tuple(CONTROLS))


def _verdict_itself(completion: Completion) -> list[float | None]:
    return [float(completion.text)]
