"""Requests sent live, many at a time, each until it is answered or given up.

Read from the end: `send_all` keeps so many requests in flight, each claimed before it is sent. What
no retry can change for any request ends the run at the first. What is left concerns one request: it
is counted and the others go on, until as many failures as there are calls in flight stand in a row,
which is an endpoint that is down.

`RequestLoop` takes one request through its attempts: paced, paid for, retried. What the requests of
a run share is kept there too: whether the endpoint was ever met, how many answers came, and whether
the run is coming to its end. An end is asked for, not enforced: calls in flight may have been paid
for, so they are waited for, but nothing new is sent.

`Pace` keeps limits per minute before a call, instead of learning them from refusals. A limit is
spread over the minute, with what belongs to two seconds let through at once: endpoints count in
windows shorter than a minute too. It holds for every minute that one looks at, the first one
included. Each process keeps its own limits.

`send` is one attempt. The client's own retries are off: attempts are paced, paid for and counted
one by one. They carry the request's key as `X-Client-Request-Id`, an identifier that OpenAI logs
and others ignore, so that a call can be found again on either side.
"""

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import httpx2
import openai
from aiolimiter import AsyncLimiter

from mini_lima.chat.adaptation import adapted, learn
from mini_lima.chat.budget import Account
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.faults import (
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    DROPPED,
    NO_COMPLETION,
    RETRIES_OF_THE_UNREACHABLE,
    SERVER_ERROR,
    TIMEOUT,
    UNREACHABLE,
    Fault,
    Meaning,
    fault_of,
    hopeless_text,
    pause,
)
from mini_lima.chat.ledger import count
from mini_lima.chat.requests import ChatRequest, read_reply
from mini_lima.chat.tokens import most_output, reported, usual_input
from mini_lima.errors import UserError

log = logging.getLogger(__name__)
REQUEST_ID = "X-Client-Request-Id"
SECONDS_TO_CONNECT = 15.0
SECONDS_IDLE = 4.0
"""Uvicorn closes an idle connection after 5: a call that is sent just then is lost."""
BURST = 2.0
"""Seconds' worth of a limit that may be used at once."""
SECONDS_TO_LOOK_FOR_MONEY = 0.02
SURELY_OWN = (CONTENT_FILTER, CONTEXT_LENGTH)
"""Faults of a request that say nothing of the endpoint, however many stand in a row."""


def open_client(endpoint: Endpoint, credential: str) -> openai.AsyncOpenAI:
    """A client with one connection pool for ``endpoint``, which sends ``credential``."""
    transport = _transport(endpoint)
    return openai.AsyncOpenAI(
        api_key=credential,
        base_url=endpoint.url,
        timeout=transport["timeout"],
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(**transport),
    )


def open_blocking_client(endpoint: Endpoint, credential: str) -> openai.OpenAI:
    """The same for one call at a time."""
    transport = _transport(endpoint)
    return openai.OpenAI(
        api_key=credential,
        base_url=endpoint.url,
        timeout=transport["timeout"],
        max_retries=0,
        http_client=openai.DefaultHttpxClient(**transport),
    )


def _transport(endpoint: Endpoint) -> dict[str, Any]:
    # It reports every single call at the level at which a run reports its stages.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    connect = min(endpoint.timeout, SECONDS_TO_CONNECT)
    return {
        "timeout": httpx2.Timeout(endpoint.timeout, connect=connect),
        "limits": httpx2.Limits(
            max_connections=endpoint.concurrency,
            max_keepalive_connections=endpoint.concurrency,
            keepalive_expiry=SECONDS_IDLE,
        ),
    }


async def send(client: openai.AsyncOpenAI, request: ChatRequest, body: dict[str, Any]) -> Any:
    """The response to ``body``, which is ``request`` as its model takes it.

    Raises:
        openai.APIError: there is none.
        ValueError: it is no chat completion; the text says what it is instead.
    """
    # Not `chat.completions.create`, which rewrites bodies: what is sent is what was decided on.
    answer = await client.post(
        "/chat/completions",
        cast_to=httpx2.Response,
        body=body,
        options={"headers": {REQUEST_ID: request.key}},
    )
    try:
        response = json.loads(answer.content)
    except ValueError:
        raise ValueError("the response is not JSON") from None
    read_reply(request.key, response, cached=False)
    return response


class Pace:
    """The limits of one endpoint; belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Start with nothing used."""
        self._requests = _limiter(endpoint.requests_per_minute)
        self._tokens = _limiter(endpoint.tokens_per_minute)
        self._turn = asyncio.Lock()

    @property
    def has_limits(self) -> bool:
        """Whether there is anything to wait for."""
        return self._requests is not None or self._tokens is not None

    async def admit(self, request: ChatRequest) -> None:
        """Wait until an attempt at ``request`` keeps the limits, in the order of the callers.

        Its tokens are those of the prompt, about, and all that the answer may have: so OpenAI
        counts them.
        """
        async with self._turn:
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                left = float(usual_input(request) + (most_output(request) or 0))
                while left > 0:  # a long one takes several windows' worth
                    part = min(left, self._tokens.max_rate)
                    await self._tokens.acquire(part)
                    left -= part


def _limiter(per_minute: float | None) -> AsyncLimiter | None:
    if per_minute is None:
        return None
    # A full bucket and what flows into it within a minute are the limit, together.
    at_once = per_minute * BURST / (60 + BURST)
    return AsyncLimiter(max(at_once, 1), BURST * max(1, 1 / at_once))


@dataclass(frozen=True)
class Answered:
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


class RequestLoop:
    """The attempts of one run at one endpoint; belongs to one event loop."""

    def __init__(
        self, client: openai.AsyncOpenAI, endpoint: Endpoint, credential: str, account: Account
    ) -> None:
        """Begin; ``credential`` is needed only to keep it out of what is told."""
        self._client, self._endpoint, self._credential = client, endpoint, credential
        self._account = account
        self._pace = Pace(endpoint)
        self._random = random.Random()
        self._answered = 0
        self._was_met = False
        self._told: set[str] = set()
        self.ending = asyncio.Event()
        self.hopeless: Fault | None = None
        self.out_of_money = False

    async def answer(self, request: ChatRequest) -> Answered | Fault | None:
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
            if isinstance(outcome, Answered):
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
    ) -> Answered | Fault:
        ledger, prices = self._account.ledger, self._account.prices
        with self._account.budget.call(most) as charge:
            ledger.sent += 1
            begun = time.monotonic()
            try:
                async with asyncio.timeout(self._endpoint.timeout):
                    response = await send(self._client, request, body)
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
        return Answered(response, time.monotonic() - begun, changes)

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


class Requester(Protocol):
    """Who wants the answers; called in this thread."""

    def claim(self, request: ChatRequest) -> bool:
        """Whether ``request`` is ours to ask."""

    def release(self, request: ChatRequest) -> None:
        """Leave ``request`` to others."""

    def put(self, request: ChatRequest, response: Any, made: Mapping[str, Any]) -> None:
        """Keep an answer, and how it was made."""


@dataclass
class Outcome:
    """What became of requests that were not answered, and whether the run ended early."""

    faults: dict[str, Fault] = field(default_factory=dict)
    """By request key."""
    taken: list[ChatRequest] = field(default_factory=list)
    """Another process was asking them, or had them answered meanwhile."""
    is_down: bool = False
    out_of_money: bool = False


def send_all(
    requests: Sequence[ChatRequest], endpoint: Endpoint, requester: Requester, account: Account
) -> Outcome:
    """Send ``requests`` and hand in each answer to ``requester`` as it arrives.

    Args:
        requests: Distinct requests, sent in this order.
        endpoint: Where to.
        requester: Says what may be sent, and keeps the answers.
        account: What the calls are charged to.

    Raises:
        UserError: no key, or a failure that would meet every request.
    """
    try:
        return asyncio.run(_send_all(requests, endpoint, endpoint.credential(), requester, account))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _send_all(
    requests: Sequence[ChatRequest],
    endpoint: Endpoint,
    credential: str,
    requester: Requester,
    account: Account,
) -> Outcome:
    outcome = Outcome()
    queue = iter(requests)
    failed_in_a_row = 0

    async def work_through_the_queue() -> None:
        nonlocal failed_in_a_row
        while not loop.ending.is_set() and (request := next(queue, None)) is not None:
            if not requester.claim(request):
                outcome.taken.append(request)
                continue
            found = await loop.answer(request)
            if isinstance(found, Answered):
                requester.put(request, found.response, found.how)
                failed_in_a_row = 0
                continue
            requester.release(request)
            if found is not None:
                outcome.faults[request.key] = found
                failed_in_a_row += found.code not in SURELY_OWN
                if failed_in_a_row >= max(2, endpoint.concurrency):
                    outcome.is_down = True
                    loop.ending.set()

    async with open_client(endpoint, credential) as client:
        loop = RequestLoop(client, endpoint, credential, account)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(endpoint.concurrency, len(requests))):
                group.create_task(work_through_the_queue())
    if loop.hopeless is not None:
        raise UserError(hopeless_text(endpoint, loop.hopeless))
    outcome.out_of_money = loop.out_of_money
    return outcome
