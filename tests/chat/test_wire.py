"""Limits per minute hold for every minute, measured on a clock that is wound by hand."""

import asyncio
from bisect import bisect_left

import pytest

from mini_lima.chat import Endpoint, complete
from mini_lima.chat.wire import Pace
from mini_lima.errors import UserError
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import FakeOpenAI, refusal

REQUEST = MODEL.request([("user", "how much is it? " * 20)])


class WoundByHand(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: it goes on to the next timer at once."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            # A real clock moves on between two looks, and what waits for rounding errors needs it.
            self.now = max(self.now + 1e-6, self._scheduled[0].when())
        super()._run_once()


def admissions(count, **limits):
    """The times at which ``count`` requests, all there at once, are let through."""
    times = []

    async def all_of_them():
        pace = Pace(Endpoint("fake", **limits))

        async def one():
            await pace.admit(REQUEST)
            times.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(one() for _ in range(count)))

    with asyncio.Runner(loop_factory=WoundByHand) as runner:
        runner.run(all_of_them())
    return times


def most_in_a_minute(times):
    return max(bisect_left(times, time + 60) - at for at, time in enumerate(times))


@pytest.mark.parametrize("limit", [1, 3, 60, 1000])
def test_no_minute_has_more_requests_than_the_limit_and_it_is_used(limit):
    times = admissions(3 * limit, requests_per_minute=limit)
    assert most_in_a_minute(times) <= limit
    assert times[-1] <= 3 * 60 * 1.04


def test_who_waits_for_a_turn_does_not_keep_a_run_from_ending(cache):
    with FakeOpenAI(lambda call: refusal(401, "invalid_api_key")) as server:
        endpoint = endpoint_of(server, requests_per_minute=0.01)
        with pytest.raises(UserError, match="refuses every request"):
            complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
    assert len(server.calls) == 1
