"""Many requests: so many in flight, each claimed before it is sent, until all have an outcome.

What no retry can change for any request ends the run at the first. What is left concerns one
request: it is counted and the others go on, until as many failures as there are calls in flight
stand in a row, which is an endpoint that is down.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from mini_lima.chat import messages, wire
from mini_lima.chat.account import Account
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.faults import CONTENT_FILTER, CONTEXT_LENGTH, Fault
from mini_lima.chat.request_loop import Asking, Made
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError

SURELY_OWN = (CONTENT_FILTER, CONTEXT_LENGTH)
"""Faults of a request that say nothing of the endpoint, however many stand in a row."""


class Desk(Protocol):
    """Where requests are fetched and answers handed in; called in this thread."""

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
    answered: int = 0
    is_down: bool = False
    out_of_money: bool = False


def ask_all(
    requests: Sequence[ChatRequest], endpoint: Endpoint, desk: Desk, account: Account
) -> Outcome:
    """Send ``requests`` and hand in each answer at ``desk`` as it arrives.

    Args:
        requests: Distinct requests, sent in this order.
        endpoint: Where to.
        desk: Says what may be sent, and keeps the answers.
        account: What the calls are charged to.

    Raises:
        UserError: no key, or a failure that would meet every request.
    """
    try:
        return asyncio.run(_ask_all(requests, endpoint, endpoint.credential(), desk, account))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _ask_all(
    requests: Sequence[ChatRequest],
    endpoint: Endpoint,
    credential: str,
    desk: Desk,
    account: Account,
) -> Outcome:
    outcome = Outcome()
    queue = iter(requests)
    failed_in_a_row = 0

    async def work_through_the_queue() -> None:
        nonlocal failed_in_a_row
        while not asking.ending.is_set() and (request := next(queue, None)) is not None:
            if not desk.claim(request):
                outcome.taken.append(request)
                continue
            found = await asking.ask(request)
            if isinstance(found, Made):
                desk.put(request, found.response, found.how)
                outcome.answered += 1
                failed_in_a_row = 0
                continue
            desk.release(request)
            if found is not None:
                outcome.faults[request.key] = found
                failed_in_a_row += found.code not in SURELY_OWN
                if failed_in_a_row >= max(2, endpoint.concurrency):
                    outcome.is_down = True
                    asking.ending.set()

    async with wire.open_client(endpoint, credential) as client:
        asking = Asking(partial(wire.send, client), endpoint, credential, account)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(endpoint.concurrency, len(requests))):
                group.create_task(work_through_the_queue())
    if asking.hopeless is not None:
        raise UserError(messages.hopeless(endpoint, asking.hopeless))
    outcome.out_of_money = asking.out_of_money
    return outcome
