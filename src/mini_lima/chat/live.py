"""What is not in the cache is asked: in rounds, many requests at a time, each until it is answered.

`answer` goes in rounds. A round sends what no one else is asking. What another process was asking
is then looked for in the cache, and what that process left unanswered, because it failed or was
killed, is the next round. An endpoint in batch mode is first given all that was not in a batch
before; what batches leave open is sent live. Open batches are polled in either mode: what stands in
one is being asked.

A round keeps so many requests in flight, each claimed before it is sent. What no retry can change
for any request ends the run at the first. What is left concerns one request: it is counted and the
others go on, until more have failed than the endpoint's ``most_failed`` lets pass, or an endpoint
is down: it answers none in a row, or refuses all from the first on. An end is asked for, not
enforced: calls in flight may have been paid for, so they are waited for, but nothing new is sent.
"""

import asyncio
import logging
import math
import time
from collections.abc import Collection, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import httpx2

from mini_lima.chat.batches import Batches
from mini_lima.chat.endpoint import ChatMode
from mini_lima.chat.faults import (
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    DROPPED,
    SERVER_ERROR,
    TIMEOUT,
    Fault,
    Meaning,
    hopeless_text,
)
from mini_lima.chat.ledger import count
from mini_lima.chat.prices import reported
from mini_lima.chat.replies import NO_COMPLETION, ONLY_THOUGHT, Reply, parse, read_reply
from mini_lima.chat.requests import ChatRequest
from mini_lima.chat.wire import Pace, Wire
from mini_lima.chat.work import Work
from mini_lima.errors import UserError

log = logging.getLogger(__name__)
REQUEST_ID = "X-Client-Request-Id"
"""Carries a request's key: OpenAI logs it and others ignore it, so a call can be found again."""
SECONDS_TO_LOOK_FOR_MONEY = 0.02
SECONDS_BETWEEN_LOOKS = 0.1
PAUSE_PER_LOOK = 19
"""Times as long as it took to look: what others wait for may take a day."""
DOWN = 6
"""Failures in a row, at the least, that tell of the endpoint."""
SURELY_OWN = (CONTENT_FILTER, CONTEXT_LENGTH, ONLY_THOUGHT)
"""Faults of a request that say nothing of the endpoint, however many stand in a row."""


def answer(work: Work) -> None:
    """Have all that is open in ``work`` answered.

    Raises:
        UserError: something to put right: the key, the account, the model, the budget.
        ConnectionError: some requests stayed unanswered.
    """
    asyncio.run(_answer(work))


async def _answer(work: Work) -> None:
    async with Wire(work.endpoint) as wire:
        batches = Batches(wire, work)
        try:
            await batches.poll(work.open)  # what is on its way already counts against the budget
            while work.open:
                if work.endpoint.mode == ChatMode.batch:
                    await _through_batches(work, batches)
                round_ = Round(wire, work)
                await round_.run()
                if round_.is_the_last:
                    raise work.unanswered()
                await _wait_for_others(work, batches, list(work.open))
        finally:
            batches.close()


async def _through_batches(work: Work, batches: Batches) -> None:
    """Have what is open answered in batches, but for what a batch left unanswered."""
    while fresh := [
        request
        for request in work.open.values()
        if work.cache.batches.is_open(request) is not False
    ]:
        if ours := [request for request in fresh if work.cache.claim(request)]:
            await batches.submit(ours)
        await _wait_for_others(work, batches, [request.key for request in fresh])


async def _wait_for_others(work: Work, batches: Batches, keys: Collection[str]) -> None:
    """Wait until all requests under ``keys`` are answered, or one of them is left to us.

    Batches that no other process polls are polled here, until all of them have ended.
    """
    told = False
    while True:
        seconds = await batches.poll(keys)
        looked = time.monotonic()
        work.look_in_cache()
        waiting = [request for key in keys if (request := work.open.get(key))]
        if not waiting:
            return
        if seconds is None:
            if any(work.cache.is_free(request) for request in waiting):
                return
            if not told:
                told = True
                counts = (work.label, len(waiting))
                log.info("%s: waiting for %d answers that another process is asking for", *counts)
            seconds = SECONDS_BETWEEN_LOOKS
        await asyncio.sleep(max(seconds, PAUSE_PER_LOOK * (time.monotonic() - looked)))


class Round:
    """Sends each open request until it is answered or given up, or the run has to end.

    Attributes:
        is_the_last: Whether another one is no use: too much has failed, or what outlasts retries.
    """

    def __init__(self, wire: Wire, work: Work) -> None:
        """Begin with nothing sent."""
        self._wire, self._work, self._endpoint = wire, work, work.endpoint
        self._pace = Pace(work.endpoint)
        self._ending = asyncio.Event()
        self._end: UserError | None = None
        self._answered = self._failed_in_a_row = 0
        self.is_the_last = False

    async def run(self) -> None:
        """Send what no one else is asking.

        Raises:
            UserError: a fault that would meet every request, or no money for the next.
        """
        queue = iter(list(self._work.open.values()))
        workers = range(min(self._endpoint.concurrency, len(self._work.open)))
        # Whatever happens to one of them, the others are waited for.
        ended = await asyncio.gather(
            *(self._work_through(queue) for _ in workers), return_exceptions=True
        )
        for error in (*ended, self._end):
            if error is not None:
                raise error

    async def _work_through(self, queue: Iterator[ChatRequest]) -> None:
        while not self._ending.is_set() and (request := next(queue, None)) is not None:
            if not self._work.cache.claim(request):
                continue
            try:
                fault = await self._answer(request)
            except BaseException:
                self._ending.set()
                raise
            finally:
                self._work.cache.release(request)
            if fault is None:
                continue
            reply = fault.reply or Reply(request.key, "", error=fault.code, detail=fault.text)
            self._work.cache.keep_failure(request, reply, fault.received)
            self._work.fail(request, reply)
            says_nothing = fault.is_own and (self._work.replies or fault.code in SURELY_OWN)
            self._failed_in_a_row += not says_nothing
            is_down = self._failed_in_a_row >= max(DOWN, self._endpoint.concurrency)
            if is_down or self._work.too_many_failed:
                self._ending.set()
            self.is_the_last |= self._ending.is_set() or not fault.is_own

    async def _answer(self, request: ChatRequest) -> Fault | None:
        """Have ``request`` answered, if the run does not end before; why it cannot be."""
        retries, begun, answered = 0, time.monotonic(), self._answered
        while True:
            queued = time.monotonic()
            if self._pace.has_limits:
                await self._or_the_end(self._pace.admit(request))
            most = await self._money_for(request)
            if most is None or self._ending.is_set():
                return None
            begun += time.monotonic() - queued  # not the endpoint's time
            body, changes = self._work.adapted(request)
            fault = await self._attempt(request, body, changes, most)
            if self._end is None and (error := self._work.billed_too_much()):
                self._end = error
                self._ending.set()
            if fault is None:
                self._answered += 1
                self._failed_in_a_row = 0
                return None
            if fault.meaning is Meaning.hopeless:
                self._end = self._end or UserError(hopeless_text(self._endpoint, fault))
                self._ending.set()
                return None
            if fault.refused and self._work.learn(fault.refused, body, request):
                continue
            seconds = self._wire.pause(fault, retries, time.monotonic() - begun)
            if seconds is None:
                return self._final(fault, others=self._answered - answered)
            retries += 1
            count(self._work.ledger.retries, fault.code)
            if await self._ended_within(seconds):
                return None

    async def _attempt(
        self, request: ChatRequest, body: dict[str, Any], changes: dict[str, str], most: float
    ) -> Fault | None:
        """Send ``body``, which is ``request`` as its model takes it, and keep what comes back."""
        text: str | None = None
        response: Any = None

        async def send() -> Reply:
            nonlocal text, response
            # Not `chat.completions.create`, which rewrites bodies: what is sent was decided on.
            received = await self._wire.client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=body,
                options={"headers": {REQUEST_ID: request.key}},
            )
            text = self._wire.redacted(received.content.decode("utf-8-sig", "replace"))
            response = self._wire.redacted(parse(text))
            return read_reply(request.key, response, cached=False)

        ledger, prices = self._work.ledger, self._work.prices
        with self._work.budget.call(most) as charge:
            ledger.sent += 1
            begun = time.monotonic()
            outcome = await self._wire.attempt(
                send, f"model {request.model!r}", self._endpoint.timeout
            )
            seconds = round(time.monotonic() - begun, 4)
            tokens = reported(response.get("usage")) if isinstance(response, dict) else None
            says_tokens = tokens is not None and tokens.input > 0
            if says_tokens or not isinstance(outcome, Fault):
                ledger.spent.add(tokens, prices)
                # Without tokens nothing is known but that it was answered.
                usd = prices.cost(tokens) if prices and tokens else most
                usd = usd if says_tokens else max(usd, most)
                charge.settle(usd)
                ledger.count_excess(usd, most)
            elif outcome.may_be_billed:
                ledger.lost += 1
                ledger.lost_usd += most
            else:
                charge.settle(0.0)
        if isinstance(outcome, Fault):
            return replace(outcome, received=text)
        if outcome.error is not None:
            detail = self._wire.cleaned(str(outcome.detail))
            return Fault(outcome.error, Meaning.own, detail, reply=outcome, received=text)
        how = {"seconds": seconds} | ({"adapted": changes} if changes else {})
        self._work.keep(request, response, outcome, **how)
        return None

    async def _money_for(self, request: ChatRequest) -> float | None:
        """Dollars to set aside for an attempt, once they are there; None if they will not be."""
        prices, budget = self._work.prices, self._work.budget
        most = 0.0 if prices is None else prices.most(request)
        if not budget.is_limited:
            return most if most < math.inf else 0.0
        while not budget.fits(most):
            # Calls in flight mostly cost less than what is set aside for them: wait for the rest.
            if not budget.in_flight and not self._ending.is_set():
                self._end = self._work.out_of_money("call")
                self._ending.set()
            if await self._ended_within(SECONDS_TO_LOOK_FOR_MONEY):
                return None
        return most

    def _final(self, fault: Fault, *, others: int) -> Fault:
        """``fault`` as it stands after the last attempt.

        What passes did not pass for this request. If ``others`` were answered meanwhile, that is
        the request's own: one that crashes its server, or takes it longer than anyone waits.
        """
        by_itself = fault.code == NO_COMPLETION or (
            others > 0 and fault.code in (SERVER_ERROR, TIMEOUT, DROPPED)
        )
        return replace(fault, meaning=Meaning.own) if by_itself else fault

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return False
        return True

    async def _or_the_end(self, waiting: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._ending.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
