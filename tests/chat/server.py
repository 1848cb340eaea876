"""A chat endpoint on loopback whose replies a test decides, and which remembers what it was asked.

    with FakeOpenAI(lambda call: f"you said {call.last_message}") as server:
        endpoint = Endpoint(name="fake", base_url=server.base_url, max_retries=0)
        ...
    assert len(server.calls) == 3

A reply is a text (served as a chat completion), an `Answer` (any status, body and headers, whole or
cut off, at once or in drops), or None, which drops the connection. Replies are made in the server's
threads, several at a time. `storm` puts every kind of fault before the replies.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Call:
    """One request as it arrived; names of headers in lower case, ``at`` is a monotonic clock."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float = 0.0

    @property
    def last_message(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Answer:
    """A response word for word; a body that is not bytes is sent as JSON.

    ``only`` cuts the connection after so many bytes of the body, ``drop_by_drop`` waits so many
    seconds before each byte.
    """

    status: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    only: int | None = None
    drop_by_drop: float = 0.0


def refusal(
    status: int, code: str | None, message: str = "no", *, param: str | None = None, **headers: str
) -> Answer:
    """An error in the shape of OpenAI's."""
    error = {"message": message, "type": code, "code": code, "param": param}
    return Answer(status, {"error": error}, headers)


USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def completion(
    text: str | None,
    *,
    model: str | None = "fake-1",
    finish_reason: str = "stop",
    usage: Mapping[str, Any] | None = USAGE,
    **changes: Any,
) -> Answer:
    """A chat completion; ``changes`` are those of `Answer`."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    return Answer(200, body | {"choices": [choice], "usage": usage}, **changes)


FAULTS: Mapping[str, "Answer | None"] = {
    "429": refusal(429, "rate_limit_exceeded", "Rate limit reached"),
    "429, retry at once": refusal(429, "rate_limit_exceeded", retry_after="0"),
    "429, retry in a moment": refusal(429, "rate_limit_exceeded", retry_after_ms="5"),
    "429 of a proxy": Answer(429, b"slow down"),
    "500": refusal(500, "server_error", "The server had an error"),
    "503": Answer(503, b"<html>Service Unavailable</html>"),
    "dropped": None,
    "truncated": completion("this will be cut off", only=60),
    "error inside": Answer(200, {"error": {"message": "upstream failed", "code": 502}}),
}


ALL_FAULTS = tuple(FAULTS.values())


def storm(
    reply: "Reply",
    seed: int = 0,
    share: float = 0.5,
    at_most: int = 6,
    faults: Sequence[Answer | None] = ALL_FAULTS,
) -> "Reply":
    """``reply``, behind ``faults``: ``share`` of all attempts, ``at_most`` per request.

    Every request is answered in the end, always with the same answer.
    """
    suffered: Counter[str] = Counter()

    def faulty(call: Call) -> "str | Answer | None":
        request = json.dumps(call.body, sort_keys=True)
        chance = random.Random(f"{seed} {request} {suffered[request]}")
        if suffered[request] < at_most and chance.random() < share:
            suffered[request] += 1
            return chance.choice(faults)
        return reply(call)

    return faulty


Reply = Callable[[Call], "str | Answer | None"]


class FakeOpenAI:
    """Serves ``reply`` while the ``with`` block lasts.

    Attributes:
        reply: May be replaced at any time.
        calls: What arrived, in the order of arrival, answered or not.
        connections: How many connections were opened.
        most_in_flight: The largest number of calls that were being answered at one time.
        batches: Answers what goes to /files and /batches; None for an endpoint that has neither.
    """

    def __init__(self, reply: Reply = lambda call: f"echo: {call.last_message}") -> None:
        self.reply = reply
        self.calls: list[Call] = []
        self.connections = 0
        self.most_in_flight = 0
        self.batches: Callable[[str, str, Mapping[str, str], bytes], Answer | None] | None = None
        self._in_flight = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def asked(self) -> list[str]:
        """The last message of every call."""
        return [call.last_message for call in self.calls]

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        if path.startswith(("/v1/files", "/v1/batches")):
            if self.batches is None:
                return Answer(404, b'{"detail":"Not Found"}')
            return self.batches(method, path, headers, body)
        with self._lock:
            call = Call(len(self.calls), path, headers, json.loads(body), time.monotonic())
            self.calls.append(call)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            return self.say(call)
        finally:
            with self._lock:
                self._in_flight -= 1

    def say(self, call: Call) -> Answer | None:
        reply = self.reply(call)
        return completion(reply) if isinstance(reply, str) else reply

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    fake: FakeOpenAI
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a mistake in a test's reply, but not a client that left early."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together, or each reply waits 40 ms for an ACK
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections += 1

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) < size:  # the client is gone
            self.close_connection = True
            return
        self._serve(body)

    def do_GET(self) -> None:
        self._serve(b"")

    def _serve(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.fake.answer(self.command, self.path, headers, body)
        if answer is None:
            self.close_connection = True
            return
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if answer.only is not None:
            self.close_connection = True
        if not answer.drop_by_drop:
            self.wfile.write(raw[: answer.only])
            return
        for byte in raw:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(answer.drop_by_drop)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the calls are remembered."""
