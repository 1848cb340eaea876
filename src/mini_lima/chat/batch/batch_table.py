"""Which request stands in which batch: a claim that outlives the process which made it.

A batch takes up to a day, and it is paid for whoever waits for it. So it is written down in the
cache's file before anything is sent, whole: from then on its requests are no one's to ask, and any
process that needs one of them can follow the batch to its end, once the process that follows it now
is gone. Following is itself claimed like a request (`claims`), under the name of the batch.

What is known at which step says what a killed process may have left at the endpoint: nothing at all
before ``input_file`` is written down, perhaps a batch with our tag from then on, and batch ``id``.
"""

import json
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mini_lima.chat.in_flight import Claims
from mini_lima.chat.requests import ChatRequest, canonical_json, request_of

TABLES = (
    """
CREATE TABLE IF NOT EXISTS batches (
    tag        TEXT PRIMARY KEY,
    endpoint   TEXT NOT NULL,
    begun_at   REAL NOT NULL,
    size       INTEGER NOT NULL,
    input_file TEXT,
    id         TEXT,
    ended      TEXT
)
""",
    """
CREATE TABLE IF NOT EXISTS batched (
    key     TEXT PRIMARY KEY,
    tag     TEXT NOT NULL,
    request TEXT NOT NULL,
    sample  INTEGER NOT NULL,
    made    TEXT NOT NULL
)
""",
    "CREATE INDEX IF NOT EXISTS batched_by_tag ON batched (tag)",
)
KEYS_PER_QUERY = 500


@dataclass(frozen=True)
class Batch:
    """A batch whose end we do not know yet.

    Attributes:
        tag: Our name for it, which stands in its metadata.
        begun_at: When it was written down, or its input file was there (seconds since the epoch).
        size: Number of its requests.
        input_file: The endpoint's id of its input; None before that is uploaded.
        id: The endpoint's id of the batch; None if it is not known to be there.
    """

    tag: str
    begun_at: float
    size: int
    input_file: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Line:
    """A request in a batch, and what the cache will say about the making of its answer."""

    request: ChatRequest
    made: dict[str, Any]


class BatchBook:
    """The batches of one endpoint in the file of the response cache.

    A row of ``batched`` goes when its request is answered (`ResponseCache.put`). One that is still
    there when its batch has ended tells that the request was in a batch in vain.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        endpoint: str,
        claims: Claims,
        key_of: Callable[[str], str],
    ) -> None:
        """Read and write ``database``; ``key_of`` gives the cache's key for that of a request."""
        self._database, self._endpoint = database, endpoint
        self._claims, self._key_of = claims, key_of

    def open(self, lines: Sequence[Line]) -> Batch:
        """Turn our claims on the requests of ``lines`` into a new batch that we follow."""
        batch = Batch(secrets.token_hex(8), time.time(), len(lines))
        row = (batch.tag, self._endpoint, batch.begun_at, batch.size)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                "INSERT INTO batches (tag, endpoint, begun_at, size) VALUES (?, ?, ?, ?)", row
            )
            for line in lines:
                key, request = self._key_of(line.request.key), line.request
                texts = (canonical_json(request.body), request.sample, json.dumps(line.made))
                self._database.execute(
                    "INSERT OR REPLACE INTO batched VALUES (?, ?, ?, ?, ?)",
                    (key, batch.tag, *texts),
                )
                self._claims.release(key)
            self._claims.take(_name(batch.tag))
        return batch

    def uploaded(self, batch: Batch, input_file: str) -> Batch:
        """Write down the input file of ``batch``, before the batch is asked for."""
        now = time.time()
        self._database.execute(
            "UPDATE batches SET input_file = ?, begun_at = ? WHERE tag = ?",
            (input_file, now, batch.tag),
        )
        return replace(batch, input_file=input_file, begun_at=now)

    def submitted(self, batch: Batch, id_: str) -> Batch:
        """Write down that ``batch`` is there."""
        self._database.execute("UPDATE batches SET id = ? WHERE tag = ?", (id_, batch.tag))
        return replace(batch, id=id_)

    def ended(self, batch: Batch, how: str) -> None:
        """Close ``batch``: what of it is not answered now was in it in vain."""
        self._database.execute("UPDATE batches SET ended = ? WHERE tag = ?", (how, batch.tag))
        self._claims.release(_name(batch.tag))

    def forget(self, batch: Batch) -> None:
        """Strike out ``batch``, which was never worked on; its requests are free."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM batched WHERE tag = ?", (batch.tag,))
            self._database.execute("DELETE FROM batches WHERE tag = ?", (batch.tag,))
            self._claims.release(_name(batch.tag))

    def adopt(self, tag: str) -> Batch | None:
        """The batch ``tag``, which is ours to follow now; None if another follows it, or no one."""
        if not self._claims.take(_name(tag)):
            return None
        row = self._database.execute(
            "SELECT tag, begun_at, size, input_file, id FROM batches "
            "WHERE tag = ? AND ended IS NULL",
            (tag,),
        ).fetchone()
        if row is None:  # it ended between the caller's look and ours
            self._claims.release(_name(tag))
            return None
        return Batch(*row)

    def holds(self, request: ChatRequest) -> bool:
        """Whether ``request`` stands in an open batch."""
        return self._stands_in_a_batch(request, "ended IS NULL")

    def was_in_vain(self, request: ChatRequest) -> bool:
        """Whether the last batch with ``request`` ended without an answer to it."""
        return self._stands_in_a_batch(request, "ended IS NOT NULL")

    def _stands_in_a_batch(self, request: ChatRequest, condition: str) -> bool:
        return (
            self._database.execute(
                f"SELECT 1 FROM batched JOIN batches USING (tag) WHERE key = ? AND {condition}",
                (self._key_of(request.key),),
            ).fetchone()
            is not None
        )

    def holding(self, requests: Sequence[ChatRequest]) -> Mapping[str, int]:
        """The open batches that hold any of ``requests``, and how many of them, by tag."""
        found: Counter[str] = Counter()
        keys = [self._key_of(request.key) for request in requests]
        for start in range(0, len(keys), KEYS_PER_QUERY):
            some = keys[start : start + KEYS_PER_QUERY]
            found.update(
                dict(
                    self._database.execute(
                        "SELECT tag, count(*) FROM batched JOIN batches USING (tag) "
                        f"WHERE ended IS NULL AND key IN ({', '.join('?' * len(some))}) "
                        "GROUP BY tag",
                        some,
                    )
                )
            )
        return found

    def line(self, batch: Batch, request_key: str) -> Line | None:
        """The unanswered request of ``batch`` with this key, None if there is no such."""
        row = self._database.execute(
            "SELECT request, sample, made FROM batched WHERE tag = ? AND key = ?",
            (batch.tag, self._key_of(request_key)),
        ).fetchone()
        return None if row is None else _line(*row)

    def unanswered(self, batch: Batch) -> Iterable[Line]:
        """The requests of ``batch`` that have no answer yet."""
        rows = self._database.execute(
            "SELECT request, sample, made FROM batched WHERE tag = ?", (batch.tag,)
        )
        return (_line(*row) for row in rows)

    def free(self, request: ChatRequest) -> None:
        """Take ``request`` out of its batch, so that it may stand in another."""
        self._database.execute("DELETE FROM batched WHERE key = ?", (self._key_of(request.key),))


def _name(tag: str) -> str:
    """What a batch is claimed under; no key of a request looks like it."""
    return f"batch {tag}"


def _line(request: str, sample: int, made: str) -> Line:
    return Line(request_of(json.loads(request), sample), json.loads(made))
