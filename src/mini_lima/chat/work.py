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
from dataclasses import replace
from typing import Any

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import ChatMode, Endpoint
from mini_lima.chat.ledger import Budget, Ledger, count
from mini_lima.chat.prices import Prices, estimate
from mini_lima.chat.replies import NO_COMPLETION, ONLY_THOUGHT, THOUGHT, Reply, read_reply
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError
from mini_lima.workers.progress import Bar

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


def are_too_many(failed: int, requests: int, most_failed: float) -> bool:
    """Whether ``failed`` of ``requests`` are more than the share ``most_failed``.

    One never is, unless it is all or none may fail.
    """
    is_one_of_many = most_failed > 0 and failed == 1 < requests
    return failed > most_failed * requests and not is_one_of_many


class Work:
    """Requests and, as they come, their replies.

    Attributes:
        open: The requests that have neither an answer nor failed for good, by key.
        replies: What was answered, by key.
        failed: Replies without an answer, by key: their requests have failed for good.
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
        self._requests = {request.key: request for request in requests}
        self.open = dict(self._requests)
        self.replies: dict[str, Reply] = {}
        self.failed: dict[str, Reply] = {}
        self.total = len(self.open)
        self.answered = 0
        self.bar: Bar

    def look_in_cache(self) -> None:
        """Take in what is answered by now; what cannot be read is open again, if it can be asked."""
        before = len(self.open)
        for key, request in list(self.open.items()):
            if (kept := self.cache.get(request)) is None:
                continue
            response, made = kept
            try:
                reply = read_reply(key, response, cached=True)
            except ValueError as error:
                reply = Reply(key, "", error=NO_COMPLETION, detail=str(error))
            if reply.error is None:
                self._take(request, reply, made)
            elif self.endpoint.mode is ChatMode.replay:
                self.fail(request, reply)
            else:
                self.cache.set_aside(request, reply)
        self.bar.advance(before - len(self.open))

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

    def fail(self, request: ChatRequest, reply: Reply) -> None:
        """Give ``request`` up, with a ``reply`` that says why; the next call may ask it again."""
        del self.open[request.key]
        self.failed[request.key] = reply
        count(self.ledger.failed, str(reply.error))

    def fail_cut_thoughts(self) -> None:
        """Fail what was cut off within a thought that the prompt had opened.

        Nothing in such a reply says so, but the end tags of others do.
        """
        if not any(reply.opened_by_prompt for reply in self.replies.values()):
            return
        for key, reply in list(self.replies.items()):
            if reply.finish_reason == "length" and reply.thought is None:
                cut = replace(
                    reply, text="", error=ONLY_THOUGHT, detail=THOUGHT, thought=reply.text
                )
                del self.replies[key]
                self.failed[key] = cut
                count(self.ledger.failed, ONLY_THOUGHT)
                if self.endpoint.mode is not ChatMode.replay:
                    self.cache.set_aside(self._requests[key], cut)

    @property
    def too_many_failed(self) -> bool:
        """Whether more requests of the ledger have failed than ``most_failed`` lets pass."""
        requests = self.ledger.requests + self.total
        return are_too_many(sum(self.ledger.failed.values()), requests, self.endpoint.most_failed)

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
        counts = Counter(reply.detail for reply in self.failed.values()).most_common(3)
        reasons = ", ".join(f"{count} × {reason}" for reason, count in counts)
        left = f", {len(self.open)} were not tried" if self.open else ""
        limit = f", more than most_failed={self.endpoint.most_failed:g} allows"
        share = limit if self.too_many_failed else ""
        return ConnectionError(
            f"{self.label}: endpoint {self.endpoint.name!r}: {len(self.replies)} of {self.total} "
            f"requests are answered and kept, {len(self.failed)} failed{share} ({reasons}){left}; "
            "run the same command again to ask for the others"
        )

    def billed_too_much(self) -> UserError | None:
        """Say that the endpoint has billed more than the budget; None if it has not."""
        budget = self.budget
        if budget.spent_usd <= budget.limit_usd:
            return None
        return UserError(
            f"{self.label}: stopped, because ${budget.spent_usd:.4f} were billed with "
            f"budget_usd={budget.limit_usd:g}: answers cost more than prices and length limits "
            f"allow, so check those. {len(self.replies)} of {self.total} requests are answered and "
            "kept: run the same command again, with as much budget as the others may cost"
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
