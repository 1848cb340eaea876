"""OpenAI's batch interface on loopback: what a `FakeOpenAI` says, by way of files and batches.

    with FakeOpenAI(lambda call: f"you said {call.last_message}") as server:
        batches = FakeBatches(server)
        ...
    assert batches.asked == ["a", "b"]

The replies are the server's own: what is no completion goes into the error file, and None leaves a
line out. Which status a look at a batch finds is what `course` says; files are there at the end.
`around` may stand before or behind every call: ``lambda call, go: None`` drops all connections.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.chat.server import Answer, Call, FakeOpenAI, refusal

COMPLETED = ("validating", "in_progress", "finalizing", "completed")


def course(*statuses: str) -> Callable[["Batch"], str]:
    """One status after the other, the last of them for ever."""
    return lambda batch: statuses[min(batch.looks, len(statuses)) - 1]


@dataclass(frozen=True)
class BatchCall:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def route(self) -> str:
        """Such as ``POST /batches``, or ``GET /batches/`` for one of them."""
        path = urlsplit(self.path).path.removeprefix("/v1")
        return f"{self.method} {re.sub('/[^/]*[0-9][^/]*', '/', path)}"


@dataclass
class Batch:
    id: str
    given: dict[str, Any]
    lines: list[dict[str, Any]]
    created_at: int
    looks: int = 0
    status: str = "validating"
    done: int = 0
    failed: int = 0
    files: dict[str, str] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        counts = {"total": len(self.lines), "completed": self.done, "failed": self.failed}
        return {
            "id": self.id,
            "object": "batch",
            **self.given,
            "status": self.status,
            "created_at": self.created_at,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": counts,
            **self.files,
        }


class FakeBatches:
    """Stands in ``server`` and works on batches.

    Attributes:
        course: Gives the status that a look finds.
        worked_on: How many lines of a batch that does not complete have an outcome.
        refusals: Errors of validation; with any of them a batch fails.
        around: Takes each call and what would answer it.
        calls: What arrived.
        batches: What was submitted, in this order.
    """

    def __init__(self, server: FakeOpenAI) -> None:
        self.course = course(*COMPLETED)
        self.worked_on = 10**9
        self.refusals: list[dict[str, Any]] = []
        self.around: Callable[[BatchCall, Callable[[], Answer]], Answer | None] = lambda call, go: (
            go()
        )
        self.calls: list[BatchCall] = []
        self.batches: list[Batch] = []
        self.uploads: dict[str, bytes] = {}
        self._files: dict[str, bytes] = {}
        self._server = server
        self._lock = threading.RLock()
        server.batches = self._answer

    @property
    def asked(self) -> list[str]:
        """The last message of every line of every batch."""
        lines = [line for batch in self.batches for line in batch.lines]
        return [line["body"]["messages"][-1]["content"] for line in lines]

    def count(self, route: str) -> int:
        return sum(call.route == route for call in self.calls)

    def _answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        call = BatchCall(method, path, headers, body)
        with self._lock:
            self.calls.append(call)
        return self.around(call, lambda: self._go(call))

    def _go(self, call: BatchCall) -> Answer:
        where = urlsplit(call.path)
        parts = where.path.removeprefix("/v1/").split("/")
        with self._lock:
            match call.method, *parts:
                case "POST", "files":
                    return self._upload(call)
                case "GET", "files", name, "content" if name in self._files:
                    return Answer(200, self._files[name])
                case "POST", "batches":
                    return self._create(json.loads(call.body))
                case "GET", "batches":
                    return self._list(parse_qs(where.query))
                case "GET", "batches", name:
                    found = [batch for batch in self.batches if batch.id == name]
                    return self._look(found[0]) if found else refusal(404, None, "No batch found")
        return refusal(404, None, "not found")

    def _upload(self, call: BatchCall) -> Answer:
        boundary = call.headers["content-type"].partition("boundary=")[2].encode()
        parts = {}
        for part in call.body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            parts[re.search(rb' name="(\w+)"', head)[1]] = head, content.removesuffix(b"\r\n")
        assert parts[b"purpose"][1] == b"batch"
        assert b'.jsonl"' in parts[b"file"][0]
        name = f"file-{len(self._files) + 1}"
        self._files[name] = self.uploads[name] = parts[b"file"][1]
        return Answer(200, {"id": name, "object": "file", "purpose": "batch"})

    def _create(self, given: dict[str, Any]) -> Answer:
        assert given["completion_window"] == "24h"
        assert given["endpoint"] == "/v1/chat/completions"
        text = self.uploads[given["input_file_id"]].decode()
        lines = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
        batch = Batch(f"batch_{len(self.batches) + 1}", given, lines, int(time.time()))
        self.batches.append(batch)
        return Answer(200, batch.document)

    def _list(self, query: dict[str, list[str]]) -> Answer:
        newest_first = self.batches[::-1]
        if "after" in query:
            names = [batch.id for batch in newest_first]
            newest_first = newest_first[names.index(query["after"][0]) + 1 :]
        page = newest_first[: int(query["limit"][0])]
        return Answer(
            200,
            {"data": [batch.document for batch in page], "has_more": len(page) < len(newest_first)},
        )

    def _look(self, batch: Batch) -> Answer:
        batch.looks += 1
        if not batch.files and not batch.errors:
            self._proceed(batch, "failed" if self._faults(batch) else self.course(batch))
        return Answer(200, batch.document)

    def _faults(self, batch: Batch) -> list[dict[str, Any]]:
        """What OpenAI checks before it begins."""
        keys = [line["custom_id"] for line in batch.lines]
        is_sound = (
            len(set(keys)) == len(keys) <= 50_000
            and len({line["body"]["model"] for line in batch.lines}) == 1
            and {(line["method"], line["url"]) for line in batch.lines}
            == {("POST", batch.given["endpoint"])}
        )
        return self.refusals if is_sound else [{"code": "invalid", "message": "not a batch"}]

    def _proceed(self, batch: Batch, status: str) -> None:
        batch.status = status
        if status == "in_progress":
            batch.done = len(batch.lines) // 2
        if status == "failed":
            batch.errors = self._faults(batch)
        if status not in ("completed", "expired", "cancelled"):
            return
        all_of_it = status == "completed"
        ended = batch.lines if all_of_it else batch.lines[: self.worked_on]
        outputs = [found for line in ended if (found := self._outcome(line)) is not None]
        if status == "expired":
            error = {"code": "batch_expired", "message": "This request could not be executed."}
            rest = batch.lines[self.worked_on :]
            outputs += [
                {"custom_id": line["custom_id"], "response": None, "error": error} for line in rest
            ]
        for kind, is_good in (("output_file_id", True), ("error_file_id", False)):
            chosen = [row for row in outputs if _is_answer(row) == is_good]
            if chosen:  # in an order of its own, as OpenAI says
                name = f"file-{len(self._files) + 1}"
                batch.files[kind] = name
                self._files[name] = b"".join(
                    json.dumps(row).encode() + b"\n" for row in reversed(chosen)
                )
        batch.done = sum(map(_is_answer, outputs))
        batch.failed = len(outputs) - batch.done

    def _outcome(self, line: dict[str, Any]) -> dict[str, Any] | None:
        answer = self._server.say(Call(-1, line["url"], {}, line["body"]))
        if answer is None:
            return None
        response = {"status_code": answer.status, "request_id": "r", "body": answer.body}
        return {"id": "b", "custom_id": line["custom_id"], "response": response, "error": None}


def _is_answer(row: Mapping[str, Any]) -> bool:
    return row["error"] is None and row["response"]["status_code"] == 200
