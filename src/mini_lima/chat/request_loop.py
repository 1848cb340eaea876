"""One request, until it is answered or given up: paced, paid for, retried.

What the requests of a run share is kept here too: whether the endpoint was ever met, how many
answers came, and whether the run is coming to its end. An end is asked for, not enforced: calls in
flight may have been paid for, so they are awaited, but nothing new is sent.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import openai

from mini_lima.chat.account import Account
from mini_lima.chat.adaptation import adapted, learn
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.faults import (
    DROPPED,
    NO_COMPLETION,
    SERVER_ERROR,
    TIMEOUT,
    UNREACHABLE,
    Fault,
    Meaning,
    fault_of,
)
from mini_lima.chat.ledger import count
from mini_lima.chat.pace import Pace
from mini_lima.chat.requests import ChatRequest
from mini_lima.chat.retries import RETRIES_OF_THE_UNREACHABLE, pause
from mini_lima.chat.tokens import reported

log = logging.getLogger(__name__)
SECONDS_TO_LOOK_FOR_MONEY = 0.02

Send = Callable[[ChatRequest, dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Made:
    """A response and how it was got: the seconds of its attempt, the parameters changed for it."""

    response: Any
    seconds: float
    adapted: dict[str, str]

    @property
    def how(self) -> dict[str, Any]:
        """What the cache keeps beside the response."""
        return {"seconds": round(self.seconds, 4)} | (
            {"adapted": self.adapted} if self.adapted else {}
        )


class Asking:
    """The attempts of one run at one endpoint; belongs to one event loop."""

    def __init__(self, send: Send, endpoint: Endpoint, credential: str, account: Account) -> None:
        """Begin; ``credential`` is needed only to keep it out of what is told."""
        self._send, self._endpoint, self._credential = send, endpoint, credential
        self._account = account
        self._pace = Pace(endpoint)
        self._random = random.Random()
        self._answered = 0
        self._was_met = False
        self._told: set[str] = set()
        self.ending = asyncio.Event()
        self.hopeless: Fault | None = None
        self.out_of_money = False

    async def ask(self, request: ChatRequest) -> Made | Fault | None:
        """The answer to ``request``, or why there is none; None if the run ended before."""
        retries, begun, answered = 0, time.monotonic(), self._answered
        while True:
            body, changes = adapted(request, self._endpoint)
            queued = time.monotonic()
            if self._pace.has_limits:
                await self._or_the_end(self._pace.admit(request))
            most = await self._money_for(request)
            if most is None or self.ending.is_set():
                return None
            begun += time.monotonic() - queued  # not the endpoint's time
            outcome = await self._attempt(request, body, changes, most)
            if isinstance(outcome, Made):
                self._answered += 1
                return outcome
            if outcome.meaning is Meaning.hopeless:
                self.hopeless = self.hopeless or outcome
                self.ending.set()
                return None
            if outcome.refused and learn(outcome.refused, body, request, self._endpoint):
                continue
            seconds = self._pause(outcome, retries, time.monotonic() - begun)
            if seconds is None:
                return self._final(outcome, others=self._answered - answered)
            retries += 1
            count(self._account.ledger.retries, outcome.code)
            if await self._ended_within(seconds):
                return None

    async def _attempt(
        self, request: ChatRequest, body: dict[str, Any], changes: dict[str, str], most: float
    ) -> Made | Fault:
        ledger, prices = self._account.ledger, self._account.prices
        with self._account.budget.call(most) as charge:
            ledger.sent += 1
            begun = time.monotonic()
            try:
                async with asyncio.timeout(self._endpoint.timeout):
                    response = await self._send(request, body)
            except (openai.APIError, TimeoutError, ValueError) as error:
                what = f"model {request.model!r}"
                fault = fault_of(error, self._endpoint, self._credential, what)
                self._was_met = self._was_met or fault.code != UNREACHABLE
                if fault.may_be_billed:
                    ledger.lost += 1
                    ledger.lost_usd += most
                else:
                    charge.settle(0.0)
                return fault
            self._was_met = True
            tokens = reported(response.get("usage"))
            ledger.spent.add(tokens, prices)
            if tokens and tokens.input and prices:
                charge.settle(prices.cost(tokens))
            else:
                charge.settle(most)  # nothing is known but that it was answered
        return Made(response, time.monotonic() - begun, changes)

    async def _money_for(self, request: ChatRequest) -> float | None:
        """Dollars to set aside for an attempt, once they are there; None if they will not be."""
        prices, budget = self._account.prices, self._account.budget
        most = 0.0 if prices is None else prices.most(request)
        if not budget.is_limited:
            return most if most < math.inf else 0.0
        while not budget.fits(most):
            # Calls in flight mostly cost less than what is set aside for them: wait for the rest.
            if not budget.in_flight:
                self.out_of_money = True
                self.ending.set()
            if await self._ended_within(SECONDS_TO_LOOK_FOR_MONEY):
                return None
        return most

    def _pause(self, fault: Fault, retries: int, elapsed: float) -> float | None:
        if fault.meaning is not Meaning.passes:
            return None
        if not self._was_met and retries >= RETRIES_OF_THE_UNREACHABLE:
            return None
        seconds = pause(
            endpoint=self._endpoint,
            retries=retries,
            elapsed=elapsed,
            asked_for=fault.asked_for,
            chance=self._random.random(),
        )
        if seconds is not None and fault.code not in self._told:
            self._told.add(fault.code)
            log.info("endpoint %r: %s; trying again", self._endpoint.name, fault.text)
        return seconds

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
                await self.ending.wait()
        except TimeoutError:
            return False
        return True

    async def _or_the_end(self, waiting: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self.ending.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
