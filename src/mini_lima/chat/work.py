"""What one call of `complete` has to have answered, and what has become of it so far.

Answers are kept in the cache the moment they arrive, and only then counted: an interruption at any
point costs nothing that was paid for.

Parameters that a model refuses are learnt from its first refusal, and sent otherwise from then on,
as long as its ledger goes on: within one run of one stage. A length limit is renamed and never
dropped, because money depends on it.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import Budget, Ledger, count
from mini_lima.chat.prices import Prices, estimate
from mini_lima.chat.requests import ChatRequest, Reply, read_reply
from mini_lima.errors import UserError
from mini_lima.workers.progress import Bar

if TYPE_CHECKING:
    from mini_lima.chat.faults import Fault

log = logging.getLogger(__name__)
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""What a parameter that a model refuses is sent as; any other is left out."""


def changed(body: Mapping[str, Any], changes: Collection[str]) -> dict[str, Any]:
    """``body`` without the parameters ``changes``, under their other name where they have one."""
    left = {name: value for name, value in body.items() if name not in changes}
    for name in changes:
        if name in RENAMED:
            left.setdefault(RENAMED[name], body[name])
    return left


class Work:
    """Requests and, as they come, their replies.

    Attributes:
        open: The requests that have neither an answer nor failed for good, by key.
        replies: What was answered, by key.
        faults: Why requests failed, by key.
        total: Number of requests, each counted once.
        answered: How many of them calls of ours have answered.
    """

    def __init__(
        self,
        requests: Iterable[ChatRequest],
        *,
        endpoint: Endpoint,
        cache: ResponseCache,
        ledger: Ledger,
        prices: Prices | None,
        budget: Budget,
        label: str,
    ) -> None:
        """Begin with all open."""
        self.endpoint, self.cache, self.label = endpoint, cache, label
        self.ledger, self.prices, self.budget = ledger, prices, budget
        self.open = {request.key: request for request in requests}
        self.replies: dict[str, Reply] = {}
        self.faults: dict[str, Fault] = {}
        self.total = len(self.open)
        self.answered = 0
        self.bar: Bar

    def look_in_cache(self) -> None:
        """Take in what is answered by now."""
        found = 0
        for key, request in list(self.open.items()):
            if (kept := self.cache.get(request)) is not None:
                response, made = kept
                self._take(request, read_reply(key, response, cached=True), made)
                found += 1
        if found:
            self.bar.advance(found)

    def keep(self, request: ChatRequest, response: Any, reply: Reply, **made: Any) -> None:
        """Keep an answer to ``request``, be it of this work or of another's in the same batch.

        Args:
            request: What was asked.
            response: The body that came back.
            reply: The same, read.
            made: How it was made, as JSON types.
        """
        # Where the cache had an answer already, that is the one: it is found at the next look.
        if not self.cache.put(request, response, made) or request.key not in self.open:
            return
        self._take(request, reply, made)
        self.answered += 1
        spent = self.ledger.spent.usd
        self.bar.advance(1, **({"usd": spent} if spent else {}))

    def _take(self, request: ChatRequest, reply: Reply, made: Mapping[str, Any]) -> None:
        del self.open[request.key]
        self.replies[request.key] = reply
        self.ledger.count_reply(request, reply, made, self.prices)

    def fail(self, request: ChatRequest, fault: "Fault") -> None:
        """Give ``request`` up."""
        del self.open[request.key]
        self.faults[request.key] = fault
        count(self.ledger.failed, fault.code)

    def adapted(self, request: ChatRequest) -> tuple[dict[str, Any], dict[str, str]]:
        """The body to send for ``request``, and what of it was changed, by parameter.

        The request stays what it is, with its key: only what is sent changes.
        """
        known = self.ledger.adapted.get(request.model, {})
        changes = {name: what for name, what in known.items() if name in request.body}
        return changed(request.body, changes), changes

    def learn(self, refused: str, sent: Mapping[str, Any], request: ChatRequest) -> bool:
        """Remember that the model refuses a parameter; False if nothing can be changed about it.

        Args:
            refused: The parameter.
            sent: The body that was refused.
            request: What it was made of.
        """
        known = self.ledger.adapted.setdefault(request.model, {})
        if refused not in sent or RENAMED.get(refused) in known:
            return False  # it was not sent, or it stands in for the one that was refused before
        if refused not in known:  # calls that were in flight together are refused together
            what = f"sent as {RENAMED[refused]}" if refused in RENAMED else "left out"
            known[refused] = what
            log.warning(
                "endpoint %r: model %s refuses %s, which is %s from now on",
                *(self.endpoint.name, request.model, refused, what),
            )
        return True

    def unanswered(self) -> ConnectionError:
        """Say that requests stayed unanswered."""
        counts = Counter(fault.text for fault in self.faults.values()).most_common(3)
        reasons = ", ".join(f"{count} × {reason}" for reason, count in counts)
        left = f", {len(self.open)} were not tried" if self.open else ""
        return ConnectionError(
            f"endpoint {self.endpoint.name!r}: {len(self.replies)} of {self.total} requests are "
            f"answered and kept, {len(self.faults)} failed ({reasons}){left}; run the same command "
            "again to go on"
        )

    def out_of_money(self, next_: str) -> UserError:
        """Say that ``next_``, a call or a batch, could pass the budget."""
        budget, is_batch = self.budget, next_ == "batch"
        left = estimate(self.open.values(), self.prices, batch=is_batch)
        lost = f", and up to ${budget.lost_usd:.4f} for lost calls" if budget.lost_usd else ""
        return UserError(
            f"{self.label}: stopped before the {next_} that could pass "
            f"budget_usd={budget.limit_usd:g}. Spent: ${budget.spent_usd:.4f}{lost}. "
            f"{len(self.replies)} of {self.total} requests are answered and kept; the other "
            f"{left.requests} cost ${left.usd_low:.4f} to ${left.usd_high:.4f}: run the same "
            "command again with as much budget, kept answers cost nothing"
        )
