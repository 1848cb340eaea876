"""Conversations in, replies out: asked once, kept for ever.

A `Chat` is what configuration says: which model, where, at what price, within which budget, with
which cache. A `Session` belongs to one run of one stage. It leaves two files beside the stage's
output: ``ledger.json``, what asking took, and ``requests.json``, the keys of all that was answered,
by which the answers can be exported and replayed elsewhere.

Both ask by `complete`: requests in, replies out, in the same order, whatever was answered before.
A reply is the same be it seconds or months old (`requests.parse`), so a run that was interrupted
ends exactly as one that was not.

Only what the cache does not hold is sent (`live`). A recording, and a model that is only to be
replayed, are never asked at all.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import ChatMode, Endpoint
from mini_lima.chat.ledger import Budget, Ledger, write_ledger
from mini_lima.chat.prices import Prices, reported
from mini_lima.chat.recordings import REQUESTS, read_cassette
from mini_lima.chat.replies import Reply, read_reply
from mini_lima.chat.requests import ChatModel, ChatRequest
from mini_lima.chat.work import Work
from mini_lima.errors import UserError
from mini_lima.files import write_json
from mini_lima.workers.progress import progress

LEDGER = "ledger.json"


@dataclass(frozen=True)
class Chat:
    """A model, where it is reached, what it costs, and the cache that keeps its answers."""

    model: ChatModel
    endpoint: Endpoint
    cache: Path
    prices: Prices | None = None
    budget: Budget = field(default_factory=Budget)

    @property
    def identity(self) -> dict[str, Any]:
        """Who answers; neither price nor place is a part of that."""
        return {"model": self.model.identity, "endpoint": self.endpoint.identity}

    def cost(self, reply: Reply) -> float | None:
        """Dollars for ``reply`` at the live price; None where tokens or prices are not known."""
        tokens = reported(reply.usage)
        return None if tokens is None or self.prices is None else self.prices.cost(tokens)

    @contextlib.contextmanager
    def session(self, output_dir: Path) -> Iterator["Session"]:
        """Ask on behalf of the stage that writes ``output_dir``; its two files come at the end."""
        session = Session(self)
        yield session
        write_ledger(output_dir / LEDGER, session.ledger)
        keys = sorted(session.keys)
        write_json(output_dir / REQUESTS, {"endpoint": self.endpoint.identity, "keys": keys})


class Session:
    """Questions that are accounted for together.

    Attributes:
        chat: Whom they go to.
        ledger: What they took so far.
        keys: Of the requests that were answered.
    """

    def __init__(self, chat: Chat) -> None:
        """Begin with nothing asked."""
        self.chat = chat
        self.ledger = Ledger()
        self.keys: set[str] = set()

    def ask(
        self,
        conversations: Iterable[Sequence[tuple[str, str]]],
        *,
        label: str,
        sample: int | Sequence[int] = 0,
    ) -> list[Reply]:
        """Have ``conversations`` continued, each a list of (role, content) pairs.

        Args:
            conversations: What to send.
            label: Names this work in the progress display.
            sample: Asks again what was asked with a lower one, instead of repeating its answer; one
                for all, or one for each.

        Returns:
            A reply to each, in their order. One that cannot be had has an ``error``.

        Raises:
            UserError: See `complete`.
            ConnectionError: See `complete`.
        """
        chat = self.chat
        asked = list(conversations)
        samples = [sample] * len(asked) if isinstance(sample, int) else sample
        requests = [
            chat.model.request(each, sample=number)
            for each, number in zip(asked, samples, strict=True)
        ]
        replies = complete(
            requests,
            endpoint=chat.endpoint,
            cache=chat.cache,
            label=label,
            ledger=self.ledger,
            prices=chat.prices,
            budget=chat.budget,
        )
        self.keys.update(reply.request_key for reply in replies if reply.error is None)
        return replies


def user_says(prompts: Iterable[str]) -> list[list[tuple[str, str]]]:
    """Conversations that consist of one message of the user's each."""
    return [[("user", prompt)] for prompt in prompts]


def complete(
    requests: Iterable[ChatRequest],
    *,
    endpoint: Endpoint,
    cache: Path,
    label: str,
    ledger: Ledger | None = None,
    prices: Prices | None = None,
    budget: Budget | None = None,
) -> list[Reply]:
    """Have ``requests`` answered; only what ``cache`` does not hold is sent, and each key once.

    Processes that share a cache never send the same request at the same time: one asks, the others
    wait for its answer.

    Args:
        requests: What to ask.
        endpoint: Who is asked; its key is needed only if something has to be sent.
        cache: File of the response cache; every answer is in it the moment it arrives.
        label: Names this work in the progress display.
        ledger: Is added to, also when this raises.
        prices: Of the model; without them the ledger knows no dollars.
        budget: Is charged with every call.

    Returns:
        One reply per request, in the order of the requests. That of a request that failed for good
        on its own (its contents are refused, its prompt is too long, nothing but a thought or
        garbage comes back) has an ``error`` and no text; the next call asks it again.

    Raises:
        UserError: something to put right: no key, a key or model that the endpoint refuses, an
            empty account, a request that the cassette does not hold, a budget that is used up, or
            that cannot be kept because prices or length limits are missing.
        ConnectionError: some requests stayed unanswered, or more failed than ``most_failed`` of the
            endpoint lets pass; says how many are kept. Calling again asks only for the others.
    """
    asked = list(requests)
    ledger = Ledger() if ledger is None else ledger
    with ResponseCache(cache, endpoint.identity) as kept:
        work = Work(
            asked,
            endpoint=endpoint,
            cache=kept,
            label=label,
            ledger=ledger,
            prices=prices,
            budget=Budget() if budget is None else budget,
        )
        with progress(label, total=work.total) as work.bar:
            work.look_in_cache()
            if work.open:
                _answer(work)
        from_cache = work.total - work.answered - len(work.failed)
        work.fail_cut_thoughts()
        if work.too_many_failed:
            raise work.unanswered()
    ledger.requests += work.total
    if endpoint.cassette is None:
        ledger.from_cache += from_cache
    else:
        ledger.from_cassette += work.total
    replies = work.replies | work.failed
    return [replies[request.key] for request in asked]


def _answer(work: Work) -> None:
    """Have what is open answered, in the one way that ``work.endpoint`` allows."""
    endpoint = work.endpoint
    if endpoint.cassette is not None:
        recorded = read_cassette(endpoint.cassette)
        if missing := [request for key, request in work.open.items() if key not in recorded]:
            raise UserError(
                f"{len(missing)} of {work.total} requests are not on the cassette "
                f"{endpoint.cassette}, the first of them {_shown(missing[0])}: a recorded teacher "
                "answers only the shipped seeds and prompts, for anything else choose a live teacher"
            )
        for key, request in list(work.open.items()):
            reply = read_reply(key, recorded[key], cached=False)
            if reply.error is None:
                work.keep(request, recorded[key], reply)
            else:
                work.fail(request, reply)
        return
    if endpoint.mode == ChatMode.replay:
        raise UserError(
            f"mode=replay: {len(work.open)} of {work.total} requests to endpoint "
            f"{endpoint.name!r} are not in the response cache, the first of them "
            f"{_shown(next(iter(work.open.values())))}: import the cassette of the run that is to "
            "be replayed, or ask with mode=live"
        )
    if work.budget.is_limited:
        _check_that_a_budget_can_be_kept(list(work.open.values()), work.prices)
    from mini_lima.chat.live import answer

    answer(work)


def _check_that_a_budget_can_be_kept(
    requests: Sequence[ChatRequest], prices: Prices | None
) -> None:
    """Raise UserError if the most that a call can cost is not known."""
    models = ", ".join(sorted({request.model for request in requests}))
    if prices is None:
        raise UserError(
            f"budget_usd is set, but the prices of {models} are not: give them, or take the budget "
            "away"
        )
    if any(prices.most(request) == math.inf for request in requests):
        raise UserError(
            f"budget_usd is set, but the answers of {models} have no limit, so no call has a "
            "highest price: set max_tokens (or max_completion_tokens)"
        )


def _shown(request: ChatRequest) -> str:
    last_message = request.messages[-1][1] if request.messages else ""
    return f"{request.key} ({' '.join(last_message.split())[:80]!r})"
