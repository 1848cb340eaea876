"""Conversations in, replies out: asked once, kept for ever.

A `Chat` is what configuration says: which model, where, at what price, within which budget, with
which cache. A `Session` belongs to one run of one stage. It leaves two files beside the stage's
output: ``ledger.json``, what asking took, and ``requests.json``, the keys of all that was answered,
by which the answers can be exported and replayed elsewhere.

Both ask by `complete`: requests in, replies out, in the same order, whatever was answered before.
Every reply is read back from the response cache, be it seconds or months old: there is one path
from an answer to a `Reply`, and a run that was interrupted ends exactly as one that was not.

What is not in the cache is answered in rounds (`_Rounds`). A round sends what no one else is
asking. What another process was asking is then looked for in the cache, and what that process left
unanswered, because it failed or was killed, is the next round. An endpoint in batch mode is first
given all that was not in a batch before; what batches leave open is sent live. Open batches are
followed in either mode: what stands in one is being asked.
"""

import contextlib
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mini_lima.chat.batch.poll_batches import Batches
from mini_lima.chat.budget import Account, Budget
from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import Ledger, count, write_ledger
from mini_lima.chat.prices import Estimate, Prices, estimate
from mini_lima.chat.recordings import REQUESTS, read_cassette
from mini_lima.chat.requests import ChatModel, ChatRequest, Reply, read_reply
from mini_lima.chat.tokens import reported
from mini_lima.errors import UserError
from mini_lima.files import write_json
from mini_lima.progress import Bar, progress

if TYPE_CHECKING:
    from mini_lima.chat.faults import Fault
    from mini_lima.chat.live import Outcome

log = logging.getLogger(__name__)
LEDGER = "ledger.json"
SECONDS_BETWEEN_LOOKS = 0.1
PAUSE_PER_LOOK = 19
"""Times as long as it took to look: what others wait for may take a day."""


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
            failures="return",
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
    failures: Literal["raise", "return"] = "raise",
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
        failures: What happens if a request fails for good on its own: its contents are refused, its
            prompt is too long, nothing but garbage comes back. ``return`` gives it a reply with an
            ``error`` and no text, which is not kept: the next call asks it again.
        ledger: Is added to, also when this raises.
        prices: Of the model; without them the ledger knows no dollars.
        budget: Is charged with every call.

    Returns:
        One reply per request, in the order of the requests.

    Raises:
        UserError: something to put right: no key, a key or model that the endpoint refuses, an
            empty account, a request that the cassette does not hold, a budget that is used up, or
            that cannot be kept because prices or length limits are missing.
        ConnectionError: some requests stayed unanswered; says how many are kept. Calling again asks
            only for those.
    """
    asked = list(requests)
    distinct = {request.key: request for request in asked}
    ledger = Ledger() if ledger is None else ledger
    account = Account(ledger, prices, Budget() if budget is None else budget)
    with (
        ResponseCache(cache, endpoint.identity) as kept,
        progress(label, total=len(distinct)) as bar,
    ):
        rounds = _Rounds(
            list(distinct.values()),
            endpoint=endpoint,
            cache=kept,
            bar=bar,
            label=label,
            returns_failures=failures == "return",
            account=account,
        )
        rounds.run()
        replies: dict[str, Reply] = {}
        for key, request in distinct.items():
            if fault := rounds.faults.get(key):
                replies[key] = Reply(key, "", None, None, None, cached=False, error=fault.code)
                continue
            reply = read_reply(key, kept.get(request), cached=key not in rounds.answered)
            ledger.count_reply(request, reply, kept.making(request), prices)
            replies[key] = reply
    ledger.requests += len(distinct)
    if endpoint.cassette is None:
        answered = rounds.answered & distinct.keys()  # a batch may hold what others had asked for
        ledger.from_cache += len(distinct) - len(answered) - len(rounds.faults)
    else:
        ledger.from_cassette += len(distinct)
    return [replies[request.key] for request in asked]


class _Rounds:
    """Has requests answered: the `Requester` of `send_all`.

    Attributes:
        answered: Keys of the requests that calls of ours have answered.
        faults: What those ended with that failed for good, by key.
    """

    def __init__(
        self,
        requests: Sequence[ChatRequest],
        *,
        endpoint: Endpoint,
        cache: ResponseCache,
        bar: Bar,
        label: str,
        returns_failures: bool,
        account: Account,
    ) -> None:
        """Take what `complete` was given; ``requests`` are distinct."""
        self._requests, self._endpoint, self._cache = requests, endpoint, cache
        self._bar, self._label, self._returns_failures = bar, label, returns_failures
        self._account = account
        self._batches = Batches(
            endpoint=endpoint,
            account=account,
            table=cache.batches,
            keep=self._keep,
            bar=bar,
            label=label,
        )
        self.answered: set[str] = set()
        self.faults: dict[str, Fault] = {}

    def run(self) -> None:
        """Return when every request has an answer or, where that is asked for, an error.

        Raises:
            UserError: See `complete`.
            ConnectionError: See `complete`.
        """
        to_do = self._not_in_cache(self._requests)
        if to_do and self._endpoint.cassette is not None:
            self._replay(to_do, self._endpoint.cassette)
        elif to_do and self._endpoint.mode == "replay":
            raise UserError(_not_kept(to_do, self._endpoint, len(self._requests)))
        elif to_do:
            self._ask(to_do)

    def _replay(self, to_do: Sequence[ChatRequest], cassette: Path) -> None:
        recorded = read_cassette(cassette)
        if missing := [request for request in to_do if request.key not in recorded]:
            raise UserError(_not_recorded(missing, cassette, len(self._requests)))
        for request in to_do:
            self.put(request, recorded[request.key], {})

    def _ask(self, to_do: Sequence[ChatRequest]) -> None:
        from mini_lima.chat.live import send_all

        if self._account.budget.is_limited:
            _check_that_a_budget_can_be_kept(to_do, self._account.prices)
        try:
            self._batches.follow(to_do)  # what is on its way already counts against the budget
            while to_do:
                if self._endpoint.mode == "batch":
                    to_do = self._through_batches(to_do)
                outcome = send_all(to_do, self._endpoint, self, self._account)
                self.faults |= outcome.faults
                for fault in outcome.faults.values():
                    count(self._account.ledger.failed, fault.code)
                self._stop_where_it_must(outcome)
                to_do = self._left_by_others(outcome.taken)
        finally:
            self._batches.close()

    def _through_batches(self, to_do: Sequence[ChatRequest]) -> list[ChatRequest]:
        """Have ``to_do`` answered in batches; what they leave open."""
        left: list[ChatRequest] = []
        while to_do:
            went_unanswered = [self._cache.batches.went_unanswered(request) for request in to_do]
            left += itertools.compress(to_do, went_unanswered)
            fresh = [
                request for request, was in zip(to_do, went_unanswered, strict=True) if not was
            ]
            if ours := [request for request in fresh if self._cache.claim(request)]:
                self._submit(ours)
            to_do = self._left_by_others(fresh)
        return left

    def _submit(self, requests: Sequence[ChatRequest]) -> None:
        """Submit ``requests``, if all of them together fit into the budget."""
        high = estimate(requests, self._account.prices, batch=True).usd_high
        if not self._account.budget.fits(high or 0.0):
            raise UserError(self._stopped_by_budget(batch=True))
        self._batches.submit(requests)

    def claim(self, request: ChatRequest) -> bool:
        """Whether ``request`` is ours to ask."""
        return self._cache.claim(request)

    def release(self, request: ChatRequest) -> None:
        """Leave ``request`` to others."""
        self._cache.release(request)

    def put(self, request: ChatRequest, response: Any, made: Mapping[str, Any]) -> None:
        """Keep an answer."""
        self._keep(request, response, made)
        figures = {"usd": self._account.ledger.spent.usd} if self._account.ledger.spent.usd else {}
        self._bar.advance(1, **figures)

    def _keep(self, request: ChatRequest, response: Any, made: Mapping[str, Any]) -> None:
        self._cache.put(request, response, made)
        self.answered.add(request.key)

    def _not_in_cache(self, requests: Sequence[ChatRequest]) -> list[ChatRequest]:
        open_requests = [request for request in requests if not self._cache.has(request)]
        if found := len(requests) - len(open_requests):
            self._bar.advance(found)
        return open_requests

    def _left_by_others(self, taken: Sequence[ChatRequest]) -> list[ChatRequest]:
        """Wait until all of ``taken`` are answered, or one of them is left to us; what is open.

        Batches that no other process follows are followed here, until all of them have ended.
        """
        told = False
        while True:
            looked = time.monotonic()
            seconds = self._batches.follow(taken)
            taken = self._not_in_cache(taken)
            if not taken:
                return []
            if seconds is None:
                if any(self._cache.is_free(request) for request in taken):
                    return list(taken)
                if not told:
                    counts = (self._label, len(taken))
                    log.info(
                        "%s: waiting for %d answers that another process is asking for", *counts
                    )
                    told = True
                seconds = SECONDS_BETWEEN_LOOKS
            time.sleep(max(seconds, PAUSE_PER_LOOK * (time.monotonic() - looked)))

    def _stop_where_it_must(self, outcome: "Outcome") -> None:
        """Raise, if the call of `complete` cannot go on after ``outcome``."""
        may_go_on = all(self._returns_failures and fault.is_own for fault in self.faults.values())
        if may_go_on and not outcome.is_down and not outcome.out_of_money:
            return
        if outcome.out_of_money:
            raise UserError(self._stopped_by_budget(batch=False))
        left, total, faults = self._untried(), len(self._requests), list(self.faults.values())
        answered = total - len(left) - len(faults)
        raise ConnectionError(_unanswered(self._endpoint, faults, answered, len(left), total))

    def _stopped_by_budget(self, *, batch: bool) -> str:
        left, total = self._untried(), len(self._requests)
        return _out_of_money(
            self._label,
            self._account.budget,
            answered=total - len(left) - len(self.faults),
            total=total,
            left=estimate(left, self._account.prices, batch=batch),
            next_="batch" if batch else "call",
        )

    def _untried(self) -> list[ChatRequest]:
        return [
            request
            for request in self._requests
            if request.key not in self.faults and not self._cache.has(request)
        ]


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


def _unanswered(
    endpoint: Endpoint, faults: Sequence["Fault"], answered: int, untried: int, total: int
) -> str:
    """Say that requests stayed unanswered."""
    counts = Counter(fault.text for fault in faults).most_common(3)
    reasons = ", ".join(f"{count} × {reason}" for reason, count in counts)
    left = f", {untried} were not tried" if untried else ""
    return (
        f"endpoint {endpoint.name!r}: {answered} of {total} requests are answered and kept, "
        f"{len(faults)} failed ({reasons}){left}; run the same command again to go on"
    )


def _not_recorded(missing: Sequence[ChatRequest], cassette: Path, total: int) -> str:
    """Say that a cassette does not hold all that is asked."""
    return (
        f"{len(missing)} of {total} requests are not on the cassette {cassette}, the first of them "
        f"{_first(missing)}: a recorded teacher answers only the shipped seeds and "
        "prompts, for anything else choose a live teacher"
    )


def _not_kept(missing: Sequence[ChatRequest], endpoint: Endpoint, total: int) -> str:
    """Say that a cache does not hold all that is asked, and nothing may be sent."""
    return (
        f"mode=replay: {len(missing)} of {total} requests to endpoint {endpoint.name!r} are not in "
        f"the response cache, the first of them {_first(missing)}: import the cassette of the run "
        "that is to be replayed, or ask with mode=live"
    )


def _first(missing: Sequence[ChatRequest]) -> str:
    last_message = missing[0].messages[-1][1] if missing[0].messages else ""
    return f"{missing[0].key} ({' '.join(last_message.split())[:80]!r})"


def _out_of_money(
    label: str, budget: Budget, answered: int, total: int, left: Estimate, *, next_: str
) -> str:
    """Say that what comes next, a call or a batch, could pass the budget."""
    lost = f", and up to ${budget.lost_usd:.4f} for lost calls" if budget.lost_usd else ""
    return (
        f"{label}: stopped before the {next_} that could pass budget_usd={budget.limit_usd:g}. "
        f"Spent: ${budget.spent_usd:.4f}{lost}. {answered} of {total} requests are answered and "
        f"kept; the other {left.requests} cost ${left.usd_low:.4f} to ${left.usd_high:.4f}: run "
        "the same command again with as much budget, kept answers cost nothing"
    )
