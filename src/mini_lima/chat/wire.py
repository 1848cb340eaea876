"""One attempt: a body goes over the wire, the body of the response comes back.

The client's own retries are off: attempts are paced, paid for and counted one by one (`asking`).
They carry the request's key as `X-Client-Request-Id`, an identifier that OpenAI logs and others
ignore, so that a call can be found again on either side.
"""

import json
import logging
from typing import Any

import httpx2
import openai

from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest, read_reply

REQUEST_ID = "X-Client-Request-Id"
SECONDS_TO_CONNECT = 15.0
SECONDS_IDLE = 4.0
"""Uvicorn closes an idle connection after 5: a call that is sent just then is lost."""


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
