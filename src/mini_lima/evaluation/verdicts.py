"""From pairs to verdicts: who is shown first, what was said, and what it comes to.

A row is written for every pair, read or not. The order is kept with each verdict, because
annotators may prefer whatever stands first (AlpacaEval's ``chatgpt`` let one model win 47 percent
in first place and 8 in second). A verdict that could not be read keeps its words and the reason,
where alpaca_eval erases them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mini_lima.evaluation.annotators import Annotator
from mini_lima.evaluation.library import Shown, preferences
from mini_lima.evaluation.pairs import Pair


@dataclass(frozen=True)
class Presentation:
    """A pair in the order in which an annotator sees it."""

    pair: Pair
    model_first: bool

    @property
    def shown(self) -> Shown:
        """What the annotator sees."""
        reference, model = self.pair.reference.output, self.pair.model.output
        first, second = (model, reference) if self.model_first else (reference, model)
        return Shown(self.pair.reference.instruction, first, second)


@dataclass(frozen=True)
class Completion:
    """What an annotator said; a control says its verdict."""

    text: str
    finish_reason: str | None = None
    served_model: str | None = None
    error: str | None = None
    """Why there is none, as `mini_lima.chat` says it."""


def present(pair: Pair, seed: int) -> Presentation:
    """Show ``pair`` in the order drawn for its instruction."""
    return Presentation(pair, model_stands_first(pair.reference.instruction, seed))


def model_stands_first(instruction: str, seed: int) -> bool:
    """Draw whether the model's output is shown first, exactly as alpaca_eval 0.6.6 draws it.

    The library seeds Python's generator with this text for each instruction, so a rerun shows the
    same order, and a finished run of the library can be taken apart by order.
    """
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True])[0]


def judge_all(
    presentations: Sequence[Presentation], answers: Sequence[Completion], judge: Annotator
) -> list[dict[str, Any]]:
    """Make one row of annotations.json per presentation.

    Args:
        presentations: What was shown, or would have been: equal outputs are shown to nobody.
        answers: What ``judge`` said to those whose outputs differ, in the same order.
        judge: Reads the answers.

    Returns:
        alpaca_eval's columns (``preference`` 1 for the reference to 2 for the model, None if
        failed), ``is_failed`` with the reason as ``failure`` (filtered, cut_at_limit, empty or
        unparsable), ``model_first``, and the annotator's words as they were given, so relative to
        the order shown.
    """
    waiting = iter(answers)
    completions = [next(waiting) if p.pair.differs else None for p in presentations]
    found = preferences(
        [p.shown for p in presentations],
        ["" if completion is None else completion.text for completion in completions],
        judge.read,
    )
    return [
        _row(*parts, annotator=judge.name)
        for parts in zip(presentations, completions, found, strict=True)
    ]


def _row(
    presentation: Presentation,
    completion: Completion | None,
    verdict: float | None,
    *,
    annotator: str,
) -> dict[str, Any]:
    """Write a verdict down; equal outputs (no completion) are a tie that nobody was asked about."""
    reference, model = presentation.pair.reference, presentation.pair.model
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
        "raw_completion": completion.text if completion else None,
        "finish_reason": completion.finish_reason if completion else None,
        "served_model": completion.served_model if completion else None,
    }


def _failure(completion: Completion) -> str:
    if completion.error is not None:
        return completion.error
    by_finish = {"length": "cut_at_limit", "content_filter": "filtered"}
    if completion.finish_reason in by_finish:
        return by_finish[completion.finish_reason]
    return "unparsable" if completion.text.strip() else "empty"
