"""Requests in, replies out, in the same order, whatever was answered before.

Every reply is read back from the response cache, be it seconds or months old: there is one path
from an answer to a `Reply`, and a run that was interrupted ends exactly as one that was not.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from mini_lima.chat.account import Account
from mini_lima.chat.budget import Budget
from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import Ledger
from mini_lima.chat.prices import Prices
from mini_lima.chat.requests import ChatRequest, Reply, read_reply
from mini_lima.chat.rounds import Rounds
from mini_lima.progress import progress


def complete(
    requests: Iterable[ChatRequest],
    *,
    endpoint: Endpoint,
    cache: Path,
    label: str,
    failures: Literal["raise", "return"] = "raise",
    ledger: Ledger | None = None,
    prices: Prices | None = None,
    budget: Budget | None = None,
) -> list[Reply]:
    """Have ``requests`` answered; only what ``cache`` does not hold is sent, and each key once.

    Processes that share a cache never send the same request at the same time: one asks, the others
    wait for its answer.

    Args:
        requests: What to ask.
        endpoint: Who is asked; its key is needed only if something has to be sent.
        cache: File of the response cache; every answer is in it the moment it arrives.
        label: Names this work in the progress display.
        failures: What happens if a request fails for good on its own: its contents are refused, its
            prompt is too long, nothing but garbage comes back. ``return`` gives it a reply with an
            ``error`` and no text, which is not kept: the next call asks it again.
        ledger: Is added to, also when this raises.
        prices: Of the model; without them the ledger knows no dollars.
        budget: Is charged with every call.

    Returns:
        One reply per request, in the order of the requests.

    Raises:
        UserError: something to put right: no key, a key or model that the endpoint refuses, an
            empty account, a request that the cassette does not hold, a budget that is used up, or
            that cannot be kept because prices or length limits are missing.
        ConnectionError: some requests stayed unanswered; says how many are kept. Calling again asks
            only for those.
    """
    asked = list(requests)
    distinct = {request.key: request for request in asked}
    book = Ledger() if ledger is None else ledger
    account = Account(book, prices, Budget() if budget is None else budget)
    with (
        ResponseCache(cache, endpoint.identity) as kept,
        progress(label, total=len(distinct)) as bar,
    ):
        rounds = Rounds(
            list(distinct.values()),
            endpoint=endpoint,
            cache=kept,
            bar=bar,
            label=label,
            returns_failures=failures == "return",
            account=account,
        )
        rounds.run()
        replies: dict[str, Reply] = {}
        for key, request in distinct.items():
            if fault := rounds.faults.get(key):
                replies[key] = Reply(key, "", None, None, None, cached=False, error=fault.code)
                continue
            reply = read_reply(key, kept.get(request), cached=key not in rounds.answered)
            book.count_reply(request, reply, kept.making(request), prices)
            replies[key] = reply
    book.requests += len(distinct)
    if endpoint.cassette is None:
        answered = rounds.answered & distinct.keys()  # a batch may hold what others had asked for
        book.from_cache += len(distinct) - len(answered) - len(rounds.faults)
    else:
        book.from_cassette += len(distinct)
    return [replies[request.key] for request in asked]
