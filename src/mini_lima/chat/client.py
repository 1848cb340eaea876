"""Requests in, replies out, in the same order, whatever was answered before.

Every reply is read back from the response cache, be it seconds or months old: there is one path
from an answer to a `Reply`, and a run that was interrupted ends exactly as one that was not.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.cassette import read_cassette
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest, Reply, read_reply
from mini_lima.errors import UserError
from mini_lima.progress import progress


def complete(
    requests: Iterable[ChatRequest], *, endpoint: Endpoint, cache: Path, label: str
) -> list[Reply]:
    """Have ``requests`` answered; only what ``cache`` does not hold is sent, and each key once.

    Args:
        requests: What to ask.
        endpoint: Who is asked; its key is needed only if something has to be sent.
        cache: File of the response cache; every answer is in it the moment it arrives.
        label: Names this work in the progress display.

    Returns:
        One reply per request, in the order of the requests.

    Raises:
        UserError: something to put right: no key, a key or model that the endpoint refuses, an
            empty account, a request that the cassette does not hold.
        ConnectionError: some requests stayed unanswered; says how many are kept. Calling again asks
            only for those.
    """
    asked = list(requests)
    distinct = {request.key: request for request in asked}
    with ResponseCache(cache, endpoint.identity) as kept:
        open_requests = [request for request in distinct.values() if not kept.has(request)]
        with progress(label, total=len(distinct)) as bar:
            if len(open_requests) < len(distinct):
                bar.advance(len(distinct) - len(open_requests))

            def keep(request: ChatRequest, response: Any) -> None:
                kept.put(request, response)
                bar.advance(1)

            if open_requests:
                _ask(open_requests, endpoint, keep, total=len(distinct))
        sent = {request.key for request in open_requests}
        replies = {
            key: read_reply(key, kept.get(request), cached=key not in sent)
            for key, request in distinct.items()
        }
    return [replies[request.key] for request in asked]


def _ask(
    requests: list[ChatRequest],
    endpoint: Endpoint,
    keep: Callable[[ChatRequest, Any], None],
    *,
    total: int,
) -> None:
    from mini_lima.chat import wire

    recorded = None
    if endpoint.cassette is not None:
        recorded = read_cassette(endpoint.cassette)
        missing = [request for request in requests if request.key not in recorded]
        if missing:
            raise UserError(_not_recorded(missing, endpoint.cassette, total))
    failures, untried = wire.ask(requests, endpoint, recorded, keep)
    if failures:
        answered = total - failures.total() - untried
        reasons = ", ".join(f"{count} × {reason}" for reason, count in failures.most_common(3))
        left = f", {untried} were not tried" if untried else ""
        raise ConnectionError(
            f"endpoint {endpoint.name!r}: {answered} of {total} requests are answered and kept, "
            f"{failures.total()} failed ({reasons}){left}; run the same command again to go on"
        )


def _not_recorded(missing: list[ChatRequest], cassette: Path, total: int) -> str:
    last_message = missing[0].messages[-1][1] if missing[0].messages else ""
    beginning = " ".join(last_message.split())[:80]
    return (
        f"{len(missing)} of {total} requests are not on the cassette {cassette}, the first of them "
        f"{missing[0].key} ({beginning!r}): a recorded teacher answers only the shipped seeds and "
        "prompts, for anything else choose a live teacher"
    )
