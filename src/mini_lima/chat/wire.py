"""The calls themselves: one client, one connection pool, so many requests in flight.

What may pass (429, 5xx, lost connections) is retried by the client with its growing pauses. What no
retry can change for any request (a refused key, an unknown model, an empty account) ends the run at
the first. What is left concerns one request: it is counted and the others go on, until as many
failures as there are calls in flight stand in a row, which is an endpoint that is down.

A cassette takes the place of the network below the same client, so a recorded answer travels the
same way as a live one. Requests carry their key as `X-Client-Request-Id`, an identifier that OpenAI
logs and others ignore; a cassette is looked up by it.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
import openai

from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest, read_reply
from mini_lima.errors import UserError

REQUEST_ID = "X-Client-Request-Id"
NO_QUOTA = "insufficient_quota"
NO_CREDIT = "the account behind {key} has no credit left"
REMEDIES = {
    401: "check the key in {key}",
    402: NO_CREDIT,
    403: "the key in {key} may not use model {model!r}",
    404: "check base_url, and that this endpoint knows model {model!r}",
    429: NO_CREDIT,
}

Keep = Callable[[ChatRequest, Any], None]


def ask(
    requests: Sequence[ChatRequest],
    endpoint: Endpoint,
    recorded: Mapping[str, Any] | None,
    keep: Keep,
) -> tuple[Counter[str], int]:
    """Send ``requests`` and call ``keep`` with each and its response body as answers arrive.

    Args:
        requests: Distinct requests, sent in this order.
        endpoint: Where to.
        recorded: Response bodies by request key that answer in place of the network.
        keep: Called in this thread.

    Returns:
        The failures by reason, and how many requests were not tried because the endpoint is down.

    Raises:
        UserError: no key, or a failure that would meet every request.
    """
    # It reports every single call at the level at which a run reports its stages.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    credential = "recorded" if recorded is not None else endpoint.credential()
    try:
        return asyncio.run(_ask_all(requests, endpoint, credential, recorded, keep))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _ask_all(
    requests: Sequence[ChatRequest],
    endpoint: Endpoint,
    credential: str,
    recorded: Mapping[str, Any] | None,
    keep: Keep,
) -> tuple[Counter[str], int]:
    failures: Counter[str] = Counter()
    answered = failed_in_a_row = 0
    queue = iter(requests)

    async def work_through_the_queue() -> None:
        nonlocal answered, failed_in_a_row
        for request in queue:
            try:
                response = await _response(client, request)
            except (openai.APIError, ValueError) as error:
                reason = _reason(error, endpoint, credential)
                if isinstance(error, openai.APIStatusError) and _is_hopeless(error):
                    raise UserError(_refusal(error, reason, endpoint, request)) from None
                failures[reason] += 1
                failed_in_a_row += 1
                if failed_in_a_row > endpoint.concurrency:
                    return
            else:
                answered += 1
                failed_in_a_row = 0
                keep(request, response)

    async with _client(endpoint, credential, recorded) as client, asyncio.TaskGroup() as group:
        for _ in range(min(endpoint.concurrency, len(requests))):
            group.create_task(work_through_the_queue())
    return failures, len(requests) - answered - failures.total()


async def _response(client: openai.AsyncOpenAI, request: ChatRequest) -> Any:
    """The body that answers ``request``; ValueError if it is no chat completion."""
    # Not `chat.completions.create`, which rewrites bodies: the key is that of exactly this one.
    answer = await client.post(
        "/chat/completions",
        cast_to=httpx2.Response,
        body=request.body,
        options={"headers": {REQUEST_ID: request.key}},
    )
    try:
        response = json.loads(answer.content)
    except ValueError:
        raise ValueError("the response is not JSON") from None
    read_reply(request.key, response, cached=False)
    return response


def _client(
    endpoint: Endpoint, credential: str, recorded: Mapping[str, Any] | None
) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=credential,
        base_url=endpoint.url,
        timeout=endpoint.timeout,
        max_retries=endpoint.max_retries,
        http_client=openai.DefaultAsyncHttpxClient(
            transport=None if recorded is None else _playback(recorded),
            timeout=endpoint.timeout,
            limits=httpx2.Limits(
                max_connections=endpoint.concurrency,
                max_keepalive_connections=endpoint.concurrency,
            ),
            event_hooks={"response": [_end_retries_without_quota]},
        ),
    )


def _playback(recorded: Mapping[str, Any]) -> httpx2.AsyncBaseTransport:
    """A transport that answers from ``recorded`` and has no way to the network."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=json.dumps(recorded[request.headers[REQUEST_ID]]))

    return httpx2.MockTransport(answer)


async def _end_retries_without_quota(response: httpx2.Response) -> None:
    """Let an empty account, which answers 429 like a busy server, not be asked again and again."""
    if response.status_code == 429 and NO_QUOTA in (await response.aread()).decode("latin-1"):
        response.headers["x-should-retry"] = "false"


def _is_hopeless(error: openai.APIStatusError) -> bool:
    return error.status_code in (401, 402, 403, 404) or NO_QUOTA in (error.code, error.type)


def _reason(error: Exception, endpoint: Endpoint, credential: str) -> str:
    """What went wrong, in one line without the credential, which some servers repeat."""
    if isinstance(error, openai.APIStatusError):
        text = str(error).removeprefix("Error code: ")
    elif isinstance(error, openai.APITimeoutError):
        text = f"no sign of life within {endpoint.timeout:g} s"
    elif isinstance(error, openai.APIConnectionError):
        text = f"no connection: {error.__cause__}"
    else:
        text = str(error)
    if endpoint.api_key_env is not None:
        text = text.replace(credential, "[key]")
    return " ".join(text.split())[:200]


def _refusal(
    error: openai.APIStatusError, reason: str, endpoint: Endpoint, request: ChatRequest
) -> str:
    remedy = REMEDIES.get(error.status_code, NO_CREDIT)
    remedy = remedy.format(key=endpoint.api_key_env or "api_key_env (not set)", model=request.model)
    return f"endpoint {endpoint.name!r} refuses every request ({reason}): {remedy}"
