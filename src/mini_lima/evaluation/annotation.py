"""Model outputs against reference outputs: verdicts on every instruction, and what they add up to.

Read from top to bottom it is the way of a pair: it is shown to the judge in one order or both, a
rule decides or a prompt is put to a model until its answer can be read, and a row is written.
Annotators may prefer whatever stands first (AlpacaEval's ``chatgpt`` let one model win 47 percent
in first place and 8 in second), so by default each pair is shown in both orders, and the order is
kept with each verdict.

Nothing disappears on the way: each presentation of each instruction has a row in annotations.json,
one that could not be read keeps its words and the reason, where alpaca_eval erases them, and
failures are counted beside the win rate. The win rate is ours and is checked against alpaca_eval's
metric on every run: two ways to the same number, or no number.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mini_lima.chat import Chat, ChatRequest, Reply
from mini_lima.errors import UserError
from mini_lima.evaluation import rules
from mini_lima.evaluation.judges import JudgeChoice, Rule, load_annotator, of_prompt, of_rule
from mini_lima.evaluation.library import metric
from mini_lima.evaluation.outputs import ANSWERS
from mini_lima.evaluation.pairs import (
    Annotation,
    Answer,
    Pair,
    read_answers,
    read_pairs,
    write_annotations,
)
from mini_lima.evaluation.prompts import Annotator, Shown
from mini_lima.files import read_jsonl, write_json
from mini_lima.results import WinRate

MODEL_OUTPUTS = "model_outputs.json"
NO_OUTPUT = "no_output"
"""Why a verdict failed: there was no answer to judge."""
TOLERANCE = 1e-9
MOST_REPEATS = 1000
"""Sample indices below it belong to first attempts, those above to attempts at reading again."""
TOGETHER = 128
"""Rows that alpaca_eval takes at a time by default."""
FILLING = Shown("1+1=", "2", "3")
"""alpaca_eval's example for the places that are left over in a prompt."""


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
    pairs = _read(reference_outputs, model_outputs, limit)
    presentations = present(pairs, orders=orders, repeats=repeats, seed=seed)
    if isinstance(judge, Rule):
        judged_by = of_rule(judge)
        said = _decide(presentations, judge, seed)
    elif chat is None:
        raise UserError(f"the judge {judge.name} needs a model to ask: give it a chat")
    else:
        annotator = load_annotator(judge, prompt)
        judged_by = of_prompt(judge, annotator, chat)
        calls = _calls(presentations, annotator, seed=seed)
        said = _ask(calls, annotator, chat, output_dir, attempts=reading_attempts)
    rows = [
        _row(each, said.get(number), annotator=judged_by.name)
        for number, each in enumerate(presentations)
    ]
    write_annotations(output_dir, rows)
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
        "failures": dict(Counter(row.failure for row in rows if row.is_failed)),
        # Exact means, which alpaca_eval's avg_length truncates to whole numbers.
        "avg_length": fmean(len(pair.model.output) for pair in pairs),
        "avg_length_reference": fmean(len(pair.reference.output) for pair in pairs),
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
    assert not isinstance(judge, Rule)
    if model_outputs is None:
        references = read_answers(reference_outputs, unnamed="reference")[:limit]
        pairs = [Pair(each, replace(each, output=f"{each.output} ")) for each in references]
    else:
        pairs = _read(reference_outputs, model_outputs, limit)
    annotator = load_annotator(judge, prompt)
    presentations = present(pairs, orders=orders, repeats=repeats, seed=seed)
    model = _for_reading(annotator, chat).model
    return [
        model.request(call.messages, sample=call.repeat)
        for call in _calls(presentations, annotator, seed=seed)
    ]


def _read(reference_outputs: Path, model_outputs: Path, limit: int | None) -> list[Pair]:
    """Pair the answers; one that could not be had is not an empty one, and nobody is asked."""
    pairs = read_pairs(reference_outputs, model_outputs / MODEL_OUTPUTS, limit)
    facts = model_outputs / ANSWERS
    if not facts.is_file():
        return pairs
    missing = [
        f"{fact['error']}: {fact.get('detail')}" if fact.get("error") else None
        for fact in read_jsonl(facts)
    ]
    return [replace(pair, missing=why) for pair, why in zip(pairs, missing, strict=True)]


@dataclass(frozen=True)
class Presentation:
    """A pair, the set's ``row``, as a judge sees it: in one order, once or again."""

    pair: Pair
    row: int
    model_first: bool
    repeat: int

    @property
    def shown(self) -> Shown:
        """What the judge sees."""
        reference, model = self.pair.reference.output, self.pair.model.output
        first, second = (model, reference) if self.model_first else (reference, model)
        return Shown(self.pair.reference.instruction, first, second)


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
    if orders == "random":
        return (model_stands_first(instruction, seed),)
    return {"both": (False, True), "model_first": (True,), "model_second": (False,)}[orders]


def model_stands_first(instruction: str, seed: int) -> bool:
    """Draw whether the model's output is shown first, exactly as alpaca_eval 0.6.6 draws it.

    The library seeds Python's generator with this text for each instruction, so a rerun shows the
    same order, and a finished run of the library can be divided by order.
    """
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True])[0]


@dataclass(frozen=True)
class Said:
    """What a judge said of a presentation.

    Attributes:
        reply: Its words; of a verdict among several in one answer, with its share of the tokens.
        preference: What was read in it, from 1 (shown first) to 2; None if nothing.
        usd: What it cost, if that is known; shared out likewise.
        attempts: How often it was asked until it could be read, or given up.
        member: Which of a pool's annotators said it; None where there is no pool.
        together: How many pairs it was said about.
    """

    reply: Reply
    preference: float | None
    usd: float | None = None
    attempts: int = 1
    member: str | None = None
    together: int = 1


def _decide(presentations: Sequence[Presentation], rule: Rule, seed: int) -> dict[int, Said]:
    """Return what a rule says, by number of presentation."""
    decide = rules.load_rule(rule.name, rule.function, rule.keywords)
    found = {}
    for number, each in enumerate(presentations):
        if each.pair.differs:
            first = "model" if each.model_first else "reference"
            preference = decide(each.shown, f"{first} first, {each.repeat}, {seed}")
            text = "" if preference is None else f"{preference:g}"
            error = "no preference" if preference is None else None
            found[number] = Said(Reply("", text, error=error), preference)
    return found


@dataclass(frozen=True)
class Call:
    """One prompt.

    Attributes:
        annotator: Who is asked: never a pool, but a member of it.
        asked: Numbers of the presentations in the prompt's order; None is the filling.
        shown: What the prompt shows, in the same order.
        repeat: How many times the same was asked before.
    """

    annotator: Annotator
    asked: tuple[int | None, ...]
    shown: tuple[Shown, ...]
    repeat: int

    @property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """The (role, content) pairs to send."""
        return self.annotator.messages(*self.shown)


def _calls(presentations: Sequence[Presentation], annotator: Annotator, *, seed: int) -> list[Call]:
    """Lay out the prompts for all of ``presentations`` whose outputs differ.

    Most annotators are asked about one pair at a time. AlpacaFarm's are asked about four or five in
    one prompt, and then the neighbours may matter; so they are the ones that alpaca_eval would put
    together: within 128 rows, shuffled by its seed, the last prompt filled up with its example. In
    both orders the neighbours stay, and each of them changes places: the order that the library
    draws comes first, its reverse second. Repeats ask the same prompt again.
    """
    both = len({p.model_first for p in presentations if p.row == 0}) == 2
    found: list[Call] = []
    together: defaultdict[tuple[str, int, bool, int], list[int]] = defaultdict(list)
    members = {}
    for number, each in enumerate(presentations):
        if not each.pair.differs:
            continue
        instruction = each.pair.reference.instruction
        member = annotator.member(instruction, seed)
        if member.batch == 1:
            found.append(Call(member, (number,), (each.shown,), each.repeat))
            continue
        members[member.name] = member
        turned = both and each.model_first != model_stands_first(instruction, seed)
        together[member.name, each.row // TOGETHER, turned, each.repeat].append(number)
    for (name, _, _, repeat), numbers in together.items():
        member = members[name]
        for asked in _batches(numbers, member.batch, seed):
            shown = tuple(FILLING if k is None else presentations[k].shown for k in asked)
            found.append(Call(member, asked, shown, repeat))
    return found


def _batches(numbers: Sequence[int], size: int, seed: int) -> Iterator[tuple[int | None, ...]]:
    """Fill ``numbers`` up to whole prompts and shuffle them, with pandas' generator."""
    import numpy as np

    filled = [*numbers, *[None] * (-len(numbers) % size)]
    order = np.random.RandomState(seed % 2**32).permutation(len(filled))
    for start in range(0, len(filled), size):
        yield tuple(filled[k] for k in order[start : start + size])


def _ask(
    calls: Sequence[Call], annotator: Annotator, chat: Chat, output_dir: Path, *, attempts: int
) -> dict[int, Said]:
    """Put each prompt until its answer can be read, or ``attempts`` times.

    An answer about several pairs is read as a whole or not at all; one that cannot be read is kept
    as a failure, with its words.

    Returns:
        What was said by number of presentation.

    Raises:
        UserError: the answers may be shorter than the annotator needs; see `complete`.
        ConnectionError: some requests stayed unanswered; the other answers are in the cache.
    """
    needed = max(each.max_tokens for each in (annotator, *annotator.members))
    for name in ("max_tokens", "max_completion_tokens"):
        allowed = getattr(chat.model, name)
        if allowed is not None and allowed < needed:
            raise UserError(
                f"annotator {annotator.name} answers about several instructions at once, in up to "
                f"{needed} tokens: annotator.chat.{name}={allowed} is too few"
            )
    found: dict[int, Said] = {}
    waiting = list(calls)
    with _for_reading(annotator, chat).session(output_dir) as session:
        for attempt in range(attempts):
            replies = session.ask(
                [call.messages for call in waiting],
                label=f"verdicts by {chat.model.model}" + (", asked again" if attempt else ""),
                sample=[call.repeat + MOST_REPEATS * attempt for call in waiting],
            )
            unread = []
            for call, reply in zip(waiting, replies, strict=True):
                votes = call.annotator.read(reply)
                asked = [(k, v) for k, v in zip(call.asked, votes, strict=True) if k is not None]
                usd = chat.cost(reply)
                for number, preference in asked:
                    found[number] = Said(
                        replace(reply, usage=_divided(reply.usage, len(asked))),
                        preference,
                        usd=None if usd is None else usd / len(asked),
                        attempts=attempt + 1,
                        member=call.annotator.name if annotator.members else None,
                        together=len(asked),
                    )
                if reply.error is None and None in votes:
                    unread.append(call)
            waiting = unread
            if not waiting:
                break
    return found


def _for_reading(annotator: Annotator, chat: Chat) -> Chat:
    """``chat`` with the parameters that reading the annotator's answers depends on."""
    extra = {**annotator.extra, **chat.model.extra_body}
    return replace(chat, model=replace(chat.model, extra_body=extra))


def _divided(usage: Any, parts: int) -> Any:
    """Divide every number in ``usage``, which may be nested, among the verdicts of an answer."""
    if isinstance(usage, Mapping):
        return {name: _divided(value, parts) for name, value in usage.items()}
    is_number = isinstance(usage, int | float) and not isinstance(usage, bool)
    return usage / parts if is_number and parts > 1 else usage


def _row(presentation: Presentation, said: Said | None, *, annotator: str) -> Annotation:
    """Write a verdict down; nobody was asked about equal outputs, a tie, and missing ones."""
    reference, model = presentation.pair.reference, presentation.pair.model
    reply = said.reply if said else None
    missing = presentation.pair.missing
    preference = said.preference if said else None if missing else 1.5
    if preference is not None and presentation.model_first:
        preference = 3 - preference
    return Annotation(
        instruction=reference.instruction,
        dataset=reference.dataset,
        output_1=reference.output,
        generator_1=reference.generator,
        output_2=model.output,
        generator_2=model.generator,
        annotator=annotator,
        preference=preference,
        is_failed=preference is None,
        failure=NO_OUTPUT if missing else _failure(reply) if reply and preference is None else None,
        detail=missing or (reply.detail if reply else None),
        model_first=presentation.model_first if said else None,
        repeat=presentation.repeat,
        raw_completion=reply.text or reply.thought or "" if reply else None,
        finish_reason=reply.finish_reason if reply else None,
        served_model=reply.served_model if reply else None,
        usage=reply.usage if reply else None,
        usd=said.usd if said else None,
        attempts=said.attempts if said else 0,
        member=said.member if said else None,
        judged_together=said.together if said else 1,
    )


def _failure(reply: Reply) -> str:
    if reply.error is not None:
        return reply.error
    by_finish = {"length": "cut_at_limit", "content_filter": "filtered"}
    if reply.finish_reason in by_finish:
        return by_finish[reply.finish_reason]
    return "unparsable" if reply.text.strip() else "empty"


def _figures(
    rows: Sequence[Annotation],
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
    theirs = metric([row.preference for row in rows if row.preference is not None])
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


def _check_agreement(ours: WinRate, theirs: dict[str, float | int | None]) -> None:
    """Raise unless win rate and count are the library's; its standard error knows no clusters."""
    for name in ("win_rate", "n_total"):
        our, their = getattr(ours, name), theirs[name]
        agree = our is their if None in (our, their) else abs(our - their) <= TOLERANCE
        if not agree:
            raise ArithmeticError(f"{name} is {our} here and {their} by alpaca_eval's metric")


def _generators(answers: Sequence[Answer]) -> str:
    return ", ".join(dict.fromkeys(answer.generator for answer in answers))
