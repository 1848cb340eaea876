"""Model outputs against reference outputs: a verdict on every instruction, and what they add up to.

Nothing disappears on the way: each instruction of the reference has a row in annotations.json, and
what could not be judged is counted beside the win rate. The win rate is ours and is checked against
alpaca_eval's metric on every run: two ways to the same number, or no number.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.chat import Chat, ChatRequest
from mini_lima.errors import UserError
from mini_lima.evaluation.annotators import Annotator, load_annotator, longest
from mini_lima.evaluation.library import Shown, metric
from mini_lima.evaluation.pairs import Answer, Pair, read_answers, read_pairs
from mini_lima.evaluation.verdicts import Completion, judge_all, present
from mini_lima.files import write_json

if TYPE_CHECKING:
    from mini_lima.evaluation.statistics import WinRate

MODEL_OUTPUTS = "model_outputs.json"
TOLERANCE = 1e-9


def annotate(
    output_dir: Path,
    *,
    model_outputs: Path,
    reference_outputs: Path,
    limit: int | None,
    annotator: str,
    chat: Chat | None,
    seed: int,
    bootstrap_samples: int,
    confidence: float,
) -> None:
    """Write annotations.json and leaderboard.json into ``output_dir``.

    Args:
        output_dir: Exists and is empty.
        model_outputs: Directory with a model_outputs.json.
        reference_outputs: File in AlpacaEval's schema.
        limit: Only the first so many instructions were answered.
        annotator: See `load_annotator`. ``longest`` is a control that asks no model.
        chat: The model that judges, sampled as it says: what it leaves open is not sent.
        seed: Draws who stands first, as alpaca_eval draws it (its own seed is 0), and fixes the
            bootstrap.
        bootstrap_samples: Resamples behind the interval.
        confidence: Of the interval, for example 0.95.

    Raises:
        UserError: what a person can put right in the inputs, the annotator or the endpoint.
        ConnectionError: some requests stayed unanswered; the other answers are in the cache.
        ArithmeticError: the win rate is not alpaca_eval's.
    """
    from mini_lima.evaluation.statistics import win_rate

    pairs = read_pairs(reference_outputs, model_outputs / MODEL_OUTPUTS, limit)
    judge = load_annotator(annotator)
    presentations = [present(pair, seed) for pair in pairs]
    asked = [p.shown for p in presentations if p.pair.differs]
    if not judge.prompt:
        answers = [Completion(longest(shown)) for shown in asked]
    elif chat is None:
        raise UserError(f"annotator {annotator} needs a model that judges: give annotator.chat")
    else:
        answers = _ask(asked, judge, chat, output_dir)
    rows = judge_all(presentations, answers, judge)
    verdicts = [row["preference"] for row in rows]
    summary = win_rate(verdicts, seed=seed, confidence=confidence, samples=bootstrap_samples)
    theirs = metric([verdict for verdict in verdicts if verdict is not None])
    _check_agreement(summary, theirs)
    write_json(output_dir / "annotations.json", rows)
    leaderboard = {
        "generator": _generators([pair.model for pair in pairs]),
        "reference": _generators([pair.reference for pair in pairs]),
        "annotator": judge.name,
        "model": chat.model.model if judge.prompt and chat else None,
        **asdict(summary),
        "confidence": confidence,
        "bootstrap_samples": bootstrap_samples,
        "failures": dict(Counter(row["failure"] for row in rows if row["is_failed"])),
        "n_model_first": sum(row["model_first"] is True for row in rows),
        "avg_length": _mean_length([pair.model for pair in pairs]),
        "avg_length_reference": _mean_length([pair.reference for pair in pairs]),
        "alpaca_eval": theirs,
    }
    write_json(output_dir / "leaderboard.json", leaderboard)


def expected_requests(
    *,
    model_outputs: Path | None,
    reference_outputs: Path,
    limit: int | None,
    annotator: str,
    chat: Chat,
    seed: int,
    **_: Any,
) -> list[ChatRequest]:
    """The requests of `annotate`, given its keywords: for a plan.

    Without ``model_outputs``, answers as long as the references stand in for the model's.
    """
    if model_outputs is None:
        references = read_answers(reference_outputs, unnamed="reference")[:limit]
        pairs = [Pair(each, replace(each, output=f"{each.output} ")) for each in references]
    else:
        pairs = read_pairs(reference_outputs, model_outputs / MODEL_OUTPUTS, limit)
    judge = load_annotator(annotator)
    shown = [present(pair, seed).shown for pair in pairs if pair.differs]
    return [chat.model.request(judge.messages(each)) for each in shown]


def _ask(
    asked: Sequence[Shown], judge: Annotator, chat: Chat, output_dir: Path
) -> list[Completion]:
    with chat.session(output_dir) as session:
        messages = [judge.messages(shown) for shown in asked]
        replies = session.ask(messages, label=f"verdicts by {chat.model.model}")
    return [
        Completion(reply.text, reply.finish_reason, reply.served_model, reply.error)
        for reply in replies
    ]


def _check_agreement(ours: "WinRate", theirs: dict[str, float | int | None]) -> None:
    for name, their in theirs.items():
        our = getattr(ours, name)
        agree = our is their if None in (our, their) else abs(our - their) <= TOLERANCE
        if not agree:
            raise ArithmeticError(f"{name} is {our} here and {their} by alpaca_eval's metric")


def _generators(answers: Sequence[Answer]) -> str:
    return ", ".join(dict.fromkeys(answer.generator for answer in answers))


def _mean_length(answers: Sequence[Answer]) -> float:
    """Mean length in characters, which alpaca_eval's avg_length truncates to a whole number."""
    return sum(len(answer.output) for answer in answers) / len(answers)
