"""From pairs to verdicts: who is shown first, how often one asks, and what it comes to.

A row is written for every presentation of every pair, read or not. Annotators may prefer whatever
stands first (AlpacaEval's ``chatgpt`` let one model win 47 percent in first place and 8 in second),
so by default each pair is shown in both orders, and the order is kept with each verdict. A verdict
that could not be read keeps its words and the reason, where alpaca_eval erases them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mini_lima.evaluation.annotators import Completion
from mini_lima.evaluation.library import Shown
from mini_lima.evaluation.pairs import Pair

ORDERS = ("both", "random", "model_first", "model_second")


@dataclass(frozen=True)
class Presentation:
    """A pair, the set's ``row``, as an annotator sees it: in one order, once or again."""

    pair: Pair
    row: int
    model_first: bool
    repeat: int

    @property
    def shown(self) -> Shown:
        """What the annotator sees."""
        reference, model = self.pair.reference.output, self.pair.model.output
        first, second = (model, reference) if self.model_first else (reference, model)
        return Shown(self.pair.reference.instruction, first, second)

    @property
    def occasion(self) -> str:
        """What tells it from the other presentations of the pair."""
        return f"{'model' if self.model_first else 'reference'} first, {self.repeat}"


def present(pairs: Sequence[Pair], *, orders: str, repeats: int, seed: int) -> list[Presentation]:
    """Show each of ``pairs`` in ``orders``, ``repeats`` times in each.

    Args:
        pairs: What is to be judged.
        orders: ``both``, ``model_first``, ``model_second``, or ``random``: the one order that
            alpaca_eval draws for an instruction.
        repeats: At least 1.
        seed: Draws a random order; the library's own is 0.
    """
    return [
        Presentation(pair, row, model_first, repeat)
        for row, pair in enumerate(pairs)
        for model_first in _orders(pair.reference.instruction, orders, seed)
        for repeat in range(repeats)
    ]


def _orders(instruction: str, orders: str, seed: int) -> tuple[bool, ...]:
    assert orders in ORDERS
    if orders == "random":
        return (model_stands_first(instruction, seed),)
    return (False, True) if orders == "both" else (orders == "model_first",)


def model_stands_first(instruction: str, seed: int) -> bool:
    """Draw whether the model's output is shown first, exactly as alpaca_eval 0.6.6 draws it.

    The library seeds Python's generator with this text for each instruction, so a rerun shows the
    same order, and a finished run of the library can be taken apart by order.
    """
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True])[0]


@dataclass(frozen=True)
class Judged:
    """A presentation's verdict.

    Attributes:
        completion: What was said.
        preference: What was read in it, from 1 (shown first) to 2; None if nothing.
        member: Which of a pool's annotators said it; None where there is no pool.
        together: How many pairs it was said about.
    """

    completion: Completion
    preference: float | None
    member: str | None = None
    together: int = 1


def judge_all(
    presentations: Sequence[Presentation], answers: Mapping[int, Judged], *, annotator: str
) -> list[dict[str, Any]]:
    """Make one row of annotations.json per presentation.

    Args:
        presentations: Pairs in the order shown.
        answers: The verdicts by number of presentation; equal outputs have none.
        annotator: Its name.

    Returns:
        Rows with alpaca_eval's columns and ours; ``preference`` runs from 1 (output_1, the
        reference, wins) to 2 (output_2, the model), whatever the order shown.
    """
    return [
        _row(presentation, answers.get(number), annotator=annotator)
        for number, presentation in enumerate(presentations)
    ]


def _row(presentation: Presentation, judged: Judged | None, *, annotator: str) -> dict[str, Any]:
    """Write a verdict down; equal outputs are a tie that nobody was asked about."""
    reference, model = presentation.pair.reference, presentation.pair.model
    completion = judged.completion if judged else None
    verdict = judged.preference if judged else None
    if not presentation.pair.differs:
        verdict = 1.5
    if verdict is not None and presentation.model_first:
        verdict = 3 - verdict
    return {
        "instruction": reference.instruction,
        "dataset": reference.dataset,
        "output_1": reference.output,
        "generator_1": reference.generator,
        "output_2": model.output,
        "generator_2": model.generator,
        "annotator": annotator,
        "preference": verdict,
        "is_failed": verdict is None,
        "failure": _failure(completion) if completion and verdict is None else None,
        "model_first": presentation.model_first if completion else None,
        "repeat": presentation.repeat,
        "raw_completion": completion.text if completion else None,
        "finish_reason": completion.finish_reason if completion else None,
        "served_model": completion.served_model if completion else None,
        "usage": completion.usage if completion else None,
        "usd": completion.usd if completion else None,
        "attempts": completion.attempts if completion else 0,
        **({"member": judged.member} if judged and judged.member else {}),
        **({"judged_together": judged.together} if judged and judged.together > 1 else {}),
    }


def _failure(completion: Completion) -> str:
    if completion.error is not None:
        return completion.error
    by_finish = {"length": "cut_at_limit", "content_filter": "filtered"}
    if completion.finish_reason in by_finish:
        return by_finish[completion.finish_reason]
    return "unparsable" if completion.text.strip() else "empty"
