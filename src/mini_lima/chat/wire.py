"""One connection pool to an endpoint, and calls over it that are repeated while that may help.

The retries of openai's own client are off: they know no budget, which every attempt needs that may
be billed, no end of the run, and neither an account without credit nor a reply that comes in drops.
Redirects are not followed: another host would get the prompts, and its text would be cached as the
answer.

`Pace` keeps limits per minute before a call, instead of learning them from refusals. A limit is
spread over the minute, with what belongs to two seconds let through at once: endpoints count in
windows shorter than a minute too. It holds for every minute that one looks at, the first one
included. Each process keeps its own limits.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import httpx2
import openai
from aiolimiter import AsyncLimiter

from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.faults import UNREACHABLE, Fault, Meaning, cleaned, fault_of, pause, redacted
from mini_lima.chat.prices import most_output, usual_input
from mini_lima.chat.requests import ChatRequest

log = logging.getLogger(__name__)
SECONDS_TO_CONNECT = 15.0
SECONDS_IDLE = 4.0
"""Uvicorn closes an idle connection after 5: a call that is sent just then is lost."""
RETRIES_OF_THE_UNREACHABLE = 3
"""Where no call of a run has met a server at all, waiting for it is waiting for a wrong address."""
BURST = 2.0
"""Seconds' worth of a limit that may be used at once."""

Found = TypeVar("Found")


class Wire:
    """Calls to ``endpoint`` with its credential; belongs to one event loop.

    Attributes:
        client: The client that carries them.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Read the key; connect at the first call."""
        # It reports every single call at the level at which a run reports its stages.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self._endpoint = endpoint
        self._credential = endpoint.credential()
        self._random = random.Random()
        self._was_met = False
        self._told: set[str] = set()
        timeout = httpx2.Timeout(
            endpoint.timeout, connect=min(endpoint.timeout, SECONDS_TO_CONNECT)
        )
        limits = httpx2.Limits(
            max_connections=endpoint.concurrency,
            max_keepalive_connections=endpoint.concurrency,
            keepalive_expiry=SECONDS_IDLE,
        )
        self.client = openai.AsyncOpenAI(
            api_key=self._credential,
            base_url=endpoint.url,
            timeout=timeout,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                timeout=timeout, limits=limits, follow_redirects=False
            ),
        )

    async def attempt(
        self, call: Callable[[], Awaitable[Found]], what: str, seconds: float | None = None
    ) -> Found | Fault:
        """Make one call, which asks ``what`` and takes ``seconds`` at the most."""
        try:
            async with asyncio.timeout(seconds):
                found = await call()
        except Exception as error:  # whatever one response does, it costs its own request alone
            fault = fault_of(error, self._endpoint, self._credential, what)
            self._was_met = self._was_met or fault.code != UNREACHABLE
            return fault
        self._was_met = True
        return found

    def pause(self, fault: Fault, retries: int, elapsed: float) -> float | None:
        """Seconds until a call that met ``fault`` may be repeated; None if that is no use."""
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

    async def persist(self, call: Callable[[], Awaitable[Found]], what: str) -> Found | Fault:
        """The outcome of ``call``, which is repeated while what goes wrong may pass."""
        retries, begun = 0, time.monotonic()
        while isinstance(outcome := await self.attempt(call, what), Fault):
            seconds = self.pause(outcome, retries, time.monotonic() - begun)
            if seconds is None:
                break
            retries += 1
            await asyncio.sleep(seconds)
        return outcome

    def cleaned(self, text: str) -> str:
        """What the endpoint told, as one short line without the key."""
        return cleaned(text, self._endpoint, self._credential)

    def redacted(self, text: str) -> str:
        """What the endpoint told, without the key."""
        return redacted(text, self._endpoint, self._credential)

    async def __aenter__(self) -> Self:
        """Return the wire itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.client.close()


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
