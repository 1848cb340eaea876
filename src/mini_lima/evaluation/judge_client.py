"""Putting the questions: to a rule, or to a model until its answer can be read.

An answer that cannot be read is asked for again a bounded number of times and then kept as a
failure, with its words. One about several pairs is read as a whole or not at all.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mini_lima.chat import Chat, Reply
from mini_lima.errors import UserError
from mini_lima.evaluation.annotators import Annotator, Completion
from mini_lima.evaluation.judge_prompts import Call
from mini_lima.evaluation.presentation_order import Judged, Presentation

MOST_REPEATS = 1000
"""Sample indices below it belong to first attempts, those above to attempts at reading again."""


def decided(
    presentations: Sequence[Presentation], judge: Annotator, seed: int
) -> dict[int, Judged]:
    """Return the verdicts of a rule by number of presentation."""
    assert judge.decide is not None
    found = {}
    for number, each in enumerate(presentations):
        if each.pair.differs:
            preference = judge.decide(each.shown, f"{each.occasion}, {seed}")
            error = "no preference" if preference is None else None
            said = Completion("" if preference is None else f"{preference:g}", error=error)
            found[number] = Judged(said, preference)
    return found


def ask(
    asked: Sequence[Call], judge: Annotator, chat: Chat, output_dir: Path, *, attempts: int
) -> dict[int, Judged]:
    """Put each question until its answer can be read, or ``attempts`` times.

    Args:
        asked: The prompts.
        judge: Whose they are.
        chat: The model that judges.
        output_dir: Receives what `Session` leaves.
        attempts: At least 1.

    Returns:
        The verdicts by number of presentation, those that could not be read included.

    Raises:
        UserError: the answers may be shorter than the annotator needs; see `complete`.
        ConnectionError: some requests stayed unanswered; the other answers are in the cache.
    """
    _check_room(judge, chat)
    found: dict[int, Judged] = {}
    waiting = list(asked)
    with for_reading(judge, chat).session(output_dir) as session:
        for attempt in range(attempts):
            replies = session.ask(
                [call.messages for call in waiting],
                label=f"verdicts by {chat.model.model}" + (", asked again" if attempt else ""),
                sample=[call.repeat + MOST_REPEATS * attempt for call in waiting],
            )
            unread = []
            for call, reply in zip(waiting, replies, strict=True):
                shares = call.share(_completion(reply, chat, attempt + 1))
                member = call.judge.name if judge.members else None
                for number, (part, preference) in shares.items():
                    found[number] = Judged(part, preference, member, len(shares))
                if reply.error is None and None in [vote for _, vote in shares.values()]:
                    unread.append(call)
            waiting = unread
            if not waiting:
                break
    return found


def _check_room(judge: Annotator, chat: Chat) -> None:
    """Refuse a length limit that cuts an answer to several pairs short."""
    needed = max(each.max_tokens for each in (judge, *judge.members))
    for name in ("max_tokens", "max_completion_tokens"):
        allowed = getattr(chat.model, name)
        if allowed is not None and allowed < needed:
            raise UserError(
                f"annotator {judge.name} answers about several instructions at once, in up to "
                f"{needed} tokens: annotator.chat.{name}={allowed} is too few"
            )


def for_reading(judge: Annotator, chat: Chat) -> Chat:
    """``chat`` with the parameters that reading the judge's answers depends on."""
    extra = {**judge.extra, **chat.model.extra_body}
    return replace(chat, model=replace(chat.model, extra_body=extra))


def _completion(reply: Reply, chat: Chat, attempts: int) -> Completion:
    return Completion(
        text=reply.text,
        finish_reason=reply.finish_reason,
        served_model=reply.served_model,
        logprobs=reply.logprobs,
        usage=reply.usage,
        usd=chat.cost(reply),
        attempts=attempts,
        error=reply.error,
    )
