"""Limits per minute, kept before a call instead of learnt from refusals.

A limit is spread over the minute, with what belongs to two seconds let through at once: endpoints
count in windows shorter than a minute too. It holds for every minute that one looks at, the first
one included. Each process keeps its own limits.
"""

import asyncio

from aiolimiter import AsyncLimiter

from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest
from mini_lima.chat.tokens import most_output, usual_input

BURST = 2.0
"""Seconds' worth of a limit that may be used at once."""


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
