"""The work of one call of `complete`, in rounds.

A round sends what no one else is asking. What another process was asking is then looked for in the
cache, and what that process left unanswered, because it failed or was killed, is the next round.

An endpoint in batch mode is first given all that was not in a batch before; what batches leave open
is sent live. Open batches are followed in either mode: what stands in one is being asked.
"""

import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.chat import messages
from mini_lima.chat.account import Account
from mini_lima.chat.batch.poll_batches import Batches
from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.cassette import read_cassette
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import count
from mini_lima.chat.prices import estimate
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError
from mini_lima.progress import Bar

if TYPE_CHECKING:
    from mini_lima.chat.dispatch import Outcome
    from mini_lima.chat.faults import Fault

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 0.1
PAUSE_PER_LOOK = 19
"""Times as long as it took to look: what others wait for may take a day."""


class Rounds:
    """Has requests answered; is the desk at which `dispatch` fetches them and hands answers in.

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
            book=cache.batches,
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
            raise UserError(messages.not_kept(to_do, self._endpoint, len(self._requests)))
        elif to_do:
            self._ask(to_do)

    def _replay(self, to_do: Sequence[ChatRequest], cassette: Path) -> None:
        recorded = read_cassette(cassette)
        if missing := [request for request in to_do if request.key not in recorded]:
            raise UserError(messages.not_recorded(missing, cassette, len(self._requests)))
        for request in to_do:
            self.put(request, recorded[request.key], {})

    def _ask(self, to_do: Sequence[ChatRequest]) -> None:
        from mini_lima.chat.dispatch import ask_all

        if self._account.budget.is_limited:
            messages.check_that_a_budget_can_be_kept(to_do, self._account.prices)
        try:
            self._batches.follow(to_do)  # what is on its way already counts against the budget
            while to_do:
                if self._endpoint.mode == "batch":
                    to_do = self._through_batches(to_do)
                outcome = ask_all(to_do, self._endpoint, self, self._account)
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
            was_in_vain = [self._cache.batches.was_in_vain(request) for request in to_do]
            left += itertools.compress(to_do, was_in_vain)
            fresh = [request for request, was in zip(to_do, was_in_vain, strict=True) if not was]
            if ours := [request for request in fresh if self._cache.claim(request)]:
                self._submit(ours)
            to_do = self._left_by_others(fresh)
        return left

    def _submit(self, requests: Sequence[ChatRequest]) -> None:
        """Submit ``requests``, if all of them together fit into the budget."""
        high = estimate(requests, self._account.prices, batch=True).usd_high
        if not self._account.budget.fits(high or 0.0):
            raise UserError(self._out_of_money(batch=True))
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
            raise UserError(self._out_of_money(batch=False))
        left, total, faults = self._untried(), len(self._requests), list(self.faults.values())
        answered = total - len(left) - len(faults)
        raise ConnectionError(
            messages.unanswered(self._endpoint, faults, answered, len(left), total)
        )

    def _out_of_money(self, *, batch: bool) -> str:
        left, total = self._untried(), len(self._requests)
        return messages.out_of_money(
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
