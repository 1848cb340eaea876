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
import os
import random
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai
from aiolimiter import AsyncLimiter

from mini_lima.chat.endpoint import OPENAI_URL, Endpoint, environment_faults
from mini_lima.chat.faults import UNREACHABLE, Fault, Meaning, cleaned, fault_of, pause
from mini_lima.chat.prices import most_output, usual_input
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError
from mini_lima.text import hide_values_of, redacted

log = logging.getLogger(__name__)
SECONDS_TO_CONNECT = 15.0
SECONDS_IDLE = 4.0
"""Uvicorn closes an idle connection after 5: a call that is sent just then is lost."""
RETRIES_OF_THE_UNREACHABLE = 3
"""Where no call of a run has met a server at all, waiting for it is waiting for a wrong address."""
BURST = 2.0
"""Seconds' worth of a limit that may be used at once."""
OPENAI_HOST = urlsplit(OPENAI_URL).hostname
OF_OPENAI = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
"""Headers, and the variables that OpenAI has named for them."""

Found = TypeVar("Found")


class Client(openai.AsyncOpenAI):
    """Sends the headers that are named here: openai's own takes further ones from variables.

    Organisation and project are OpenAI's own, and who pays depends on them: nobody else is told.
    """

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """What goes with every request."""
        headers: dict[str, str | openai.Omit] = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self.api_key}",
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
        }
        if self.base_url.host == OPENAI_HOST:
            headers |= {
                name: os.environ[of] for name, of in OF_OPENAI.items() if os.environ.get(of)
            }
        return headers


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


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
        for fault in environment_faults():
            raise UserError(fault)
        self._credential = endpoint.credential()
        if endpoint.api_key_env is not None:
            hide_values_of([endpoint.api_key_env])
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
        host = urlsplit(endpoint.url).hostname or ""
        at_hand = f"all://{f'[{host}]' if ':' in host else host}" if is_loopback(host) else None
        self.client = Client(
            api_key=self._credential,
            base_url=endpoint.url,
            timeout=timeout,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                timeout=timeout,
                limits=limits,
                follow_redirects=False,
                mounts={at_hand: None} if at_hand else {},  # not through a proxy
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
        return cleaned(text, self._credential)

    def redacted(self, told: Any) -> Any:
        """What the endpoint told, a text or JSON types around texts, without the key."""
        return redacted(told, self._credential)

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
