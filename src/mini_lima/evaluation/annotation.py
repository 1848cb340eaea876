"""Model outputs against reference outputs: verdicts on every instruction, and what they add up to.

Nothing disappears on the way: each presentation of each instruction has a row in annotations.json,
and what could not be judged is counted beside the win rate. The win rate is ours and is checked
against alpaca_eval's metric on every run: two ways to the same number, or no number.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mini_lima.chat import Chat, ChatRequest
from mini_lima.errors import UserError
from mini_lima.evaluation.judge_client import ask, decided, for_reading
from mini_lima.evaluation.judge_prompts import calls
from mini_lima.evaluation.judges import JudgeChoice, describe, load_annotator
from mini_lima.evaluation.library import metric
from mini_lima.evaluation.pairs import Answer, Pair, read_answers, read_pairs
from mini_lima.evaluation.presentation_order import judge_all, present
from mini_lima.files import write_json

if TYPE_CHECKING:
    from mini_lima.statistics import WinRate

MODEL_OUTPUTS = "model_outputs.json"
TOLERANCE = 1e-9


def annotate(
    output_dir: Path,
    *,
    model_outputs: Path,
    reference_outputs: Path,
    limit: int | None,
    judge: JudgeChoice,
    chat: Chat | None,
    orders: str,
    repeats: int,
    reading_attempts: int,
    most_failed: float,
    seed: int,
    bootstrap_samples: int,
    confidence: float,
    prompt: Path | None = None,
    difficulties: Path | None = None,
) -> None:
    """Write annotations.json and leaderboard.json into ``output_dir``.

    Args:
        output_dir: Exists and is empty.
        model_outputs: Directory with a model_outputs.json.
        reference_outputs: File in AlpacaEval's schema.
        limit: Only the first so many instructions were answered.
        judge: A prompt that is put to ``chat``, or a rule.
        chat: The model that judges, sampled as it says: what it leaves open is not sent.
        orders: Who is shown first; see `present`.
        repeats: Verdicts on each pair in each order.
        reading_attempts: How often a question is put until its answer can be read.
        most_failed: Share of failed verdicts beyond which the result is marked incomplete.
        seed: Draws who stands first, as alpaca_eval draws it (its own seed is 0), and fixes the
            bootstrap.
        bootstrap_samples: Resamples behind the interval.
        confidence: Of the interval, for example 0.95.
        prompt: File of a judge's prompt that is not AlpacaEval's.
        difficulties: AlpacaEval's file, for its length-controlled win rate.

    Raises:
        UserError: what a person can put right in the inputs, the annotator or the endpoint.
        ConnectionError: some requests stayed unanswered; the other answers are in the cache.
        ArithmeticError: the win rate is not alpaca_eval's.
    """
    pairs = read_pairs(reference_outputs, model_outputs / MODEL_OUTPUTS, limit)
    annotator = load_annotator(judge, prompt)
    presentations = present(pairs, orders=orders, repeats=repeats, seed=seed)
    if annotator.decide is not None:
        answers = decided(presentations, annotator, seed)
    elif chat is None:
        raise UserError(f"the judge {judge.name} needs a model to ask: give it a chat")
    else:
        asked = calls(presentations, annotator, seed=seed)
        answers = ask(asked, annotator, chat, output_dir, attempts=reading_attempts)
    judged_by = describe(judge, annotator, chat)
    rows = judge_all(presentations, answers, annotator=judged_by.name)
    write_json(output_dir / "annotations.json", rows)
    leaderboard = {
        "generator": _generators([pair.model for pair in pairs]),
        "reference": _generators([pair.reference for pair in pairs]),
        "annotator": judged_by.name,
        "judge": asdict(judged_by),
        "orders": orders,
        "repeats": repeats,
        **_figures(
            rows,
            difficulties,
            most_failed=most_failed,
            seed=seed,
            confidence=confidence,
            samples=bootstrap_samples,
        ),
        "confidence": confidence,
        "bootstrap_samples": bootstrap_samples,
        "failures": dict(Counter(row["failure"] for row in rows if row["is_failed"])),
        "avg_length": _mean_length([pair.model for pair in pairs]),
        "avg_length_reference": _mean_length([pair.reference for pair in pairs]),
        "median_length": median(len(pair.model.output) for pair in pairs),
        "median_length_reference": median(len(pair.reference.output) for pair in pairs),
    }
    write_json(output_dir / "leaderboard.json", leaderboard)


def expected_requests(
    *,
    model_outputs: Path | None,
    reference_outputs: Path,
    limit: int | None,
    judge: JudgeChoice,
    chat: Chat,
    orders: str,
    repeats: int,
    seed: int,
    prompt: Path | None = None,
    **_: Any,
) -> list[ChatRequest]:
    """The requests of `annotate`, given its keywords, if all answers can be read: for a plan.

    Without ``model_outputs``, answers as long as the references stand in for the model's.
    """
    if model_outputs is None:
        references = read_answers(reference_outputs, unnamed="reference")[:limit]
        pairs = [Pair(each, replace(each, output=f"{each.output} ")) for each in references]
    else:
        pairs = read_pairs(reference_outputs, model_outputs / MODEL_OUTPUTS, limit)
    annotator = load_annotator(judge, prompt)
    presentations = present(pairs, orders=orders, repeats=repeats, seed=seed)
    return [
        for_reading(annotator, chat).model.request(call.messages, sample=call.repeat)
        for call in calls(presentations, annotator, seed=seed)
    ]


def _figures(
    rows: Sequence[dict[str, Any]],
    difficulties: Path | None,
    *,
    most_failed: float,
    seed: int,
    confidence: float,
    samples: int,
) -> dict[str, Any]:
    """What ``rows`` add up to, as JSON types."""
    from mini_lima.evaluation.length import length_controlled, lengths
    from mini_lima.statistics import consistency, split_variance, tabulate, win_rate

    verdicts = tabulate(rows)
    drawn: dict[str, Any] = {"seed": seed, "confidence": confidence, "samples": samples}
    summary = win_rate(verdicts, **drawn)
    theirs = metric([row["preference"] for row in rows if row["preference"] is not None])
    _check_agreement(summary, theirs)
    matched = lengths(rows, **drawn)
    return {
        **asdict(summary),
        "incomplete": summary.is_incomplete(most_failed),
        "consistency": asdict(consistency(verdicts, **drawn)),
        "variance": asdict(split_variance(verdicts)),
        "same_length": {
            "ratio": matched.ratio,
            "n_pairs": matched.n_matched,
            **asdict(matched.win_rate_matched),
        },
        "length_controlled": asdict(
            length_controlled(rows, difficulties, seed=seed, confidence=confidence)
        ),
        "alpaca_eval": theirs,
    }


def _check_agreement(ours: "WinRate", theirs: dict[str, float | int | None]) -> None:
    """Raise unless win rate and count are the library's; its standard error knows no clusters."""
    for name in ("win_rate", "n_total"):
        our, their = getattr(ours, name), theirs[name]
        agree = our is their if None in (our, their) else abs(our - their) <= TOLERANCE
        if not agree:
            raise ArithmeticError(f"{name} is {our} here and {their} by alpaca_eval's metric")


def _generators(answers: Sequence[Answer]) -> str:
    return ", ".join(dict.fromkeys(answer.generator for answer in answers))


def _mean_length(answers: Sequence[Answer]) -> float:
    """Mean length in characters, which alpaca_eval's avg_length truncates to a whole number."""
    return sum(len(answer.output) for answer in answers) / len(answers)
