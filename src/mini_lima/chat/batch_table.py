"""Which request stands in which batch: a claim that outlives the process which made it.

A batch takes up to a day, and it is paid for whoever waits for it. So it is written down in the
cache's file before anything is sent, whole: from then on its requests are no one's to ask, and any
process that needs one of them can wait for the batch to end, once the process that polls it now is
gone. Polling is itself claimed like a request (`in_flight`), under the name of the batch.

What is known at which step says what a killed process may have left at the endpoint: nothing at all
before ``input_file`` is written down, perhaps a batch with our tag from then on, and batch ``id``.
"""

import json
import logging
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mini_lima.chat.in_flight import InFlight
from mini_lima.chat.requests import ChatRequest, canonical_json

log = logging.getLogger(__name__)
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

    @property
    def name(self) -> str:
        """What it is claimed under; no key of a request looks like it."""
        return f"batch {self.tag}"


@dataclass(frozen=True)
class Line:
    """A request in a batch, and what the cache will say about the making of its answer."""

    request: ChatRequest
    made: dict[str, Any]


class BatchTable:
    """The batches of one endpoint in the file of the response cache.

    A row of ``batched`` goes when its request is answered (`ResponseCache.put`). One that is still
    there when its batch has ended tells that the batch did not answer the request.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        endpoint: str,
        in_flight: InFlight,
        key_of: Callable[[str], str],
    ) -> None:
        """Read and write ``database``; ``key_of`` gives the cache's key for that of a request."""
        self._database, self._endpoint = database, endpoint
        self._in_flight, self._key_of = in_flight, key_of

    def open(self, lines: Sequence[Line]) -> Batch:
        """Turn our claims on the requests of ``lines`` into a new batch that we poll."""
        batch = Batch(secrets.token_hex(8), time.time(), len(lines))
        self._in_flight.take(batch.name)
        keys = [self._key_of(line.request.key) for line in lines]
        rows = [
            (key, batch.tag, canonical_json(line.request.body), line.request.sample, made)
            for key, line in zip(keys, lines, strict=True)
            for made in [json.dumps(line.made)]
        ]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                "INSERT INTO batches (tag, endpoint, begun_at, size) VALUES (?, ?, ?, ?)",
                (batch.tag, self._endpoint, batch.begun_at, batch.size),
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO batched VALUES (?, ?, ?, ?, ?)", rows
            )
        for key in keys:
            self._in_flight.release(key)
        return batch

    def note(self, batch: Batch, **known: Any) -> Batch:
        """Write down what is known of ``batch`` by now, before the next step is done."""
        columns = ", ".join(f"{name} = ?" for name in known)
        self._database.execute(
            f"UPDATE batches SET {columns} WHERE tag = ?", (*known.values(), batch.tag)
        )
        return replace(batch, **known)

    def ended(self, batch: Batch, how: str) -> None:
        """Close ``batch``: what of it is not answered now stays unanswered."""
        self._database.execute("UPDATE batches SET ended = ? WHERE tag = ?", (how, batch.tag))
        self._in_flight.release(batch.name)

    def forget(self, batch: Batch) -> None:
        """Strike out ``batch``, which was never worked on; its requests are free."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM batched WHERE tag = ?", (batch.tag,))
            self._database.execute("DELETE FROM batches WHERE tag = ?", (batch.tag,))
        self._in_flight.release(batch.name)

    def adopt(self, tag: str) -> Batch | None:
        """The batch ``tag``, which is ours to poll now; None if another polls it, or no one."""
        name = Batch(tag, 0.0, 0).name
        if not self._in_flight.take(name):
            return None
        row = self._database.execute(
            "SELECT tag, begun_at, size, input_file, id FROM batches "
            "WHERE tag = ? AND ended IS NULL",
            (tag,),
        ).fetchone()
        if row is None:  # it ended between the caller's look and ours
            self._in_flight.release(name)
        return None if row is None else Batch(*row)

    def is_open(self, request: ChatRequest) -> bool | None:
        """Whether the batch that ``request`` stands in is still open; None if it is in none."""
        row = self._database.execute(
            "SELECT ended IS NULL FROM batched JOIN batches USING (tag) WHERE key = ?",
            (self._key_of(request.key),),
        ).fetchone()
        return None if row is None else bool(row[0])

    def holding(self, request_keys: Collection[str]) -> Mapping[str, int]:
        """The open batches that hold any of ``request_keys``, and how many of them, by tag."""
        rows = self._database.execute(
            "SELECT key, tag FROM batched JOIN batches USING (tag) "
            "WHERE ended IS NULL AND endpoint = ?",
            (self._endpoint,),
        ).fetchall()
        wanted = {self._key_of(key) for key in request_keys} if rows else ()
        return Counter(tag for key, tag in rows if key in wanted)

    def line(self, batch: Batch, request_key: str) -> Line | None:
        """The unanswered request of ``batch`` with this key, None if there is no such."""
        key = self._key_of(request_key)
        return next(self._lines("tag = ? AND key = ?", batch.tag, key), None)

    def unanswered(self, batch: Batch) -> Iterator[Line]:
        """The requests of ``batch`` that have no answer yet."""
        return self._lines("tag = ?", batch.tag)

    def _lines(self, condition: str, *values: str) -> Iterator[Line]:
        query = f"SELECT key, request, sample, made FROM batched WHERE {condition}"
        for key, request, sample, made in self._database.execute(query, values).fetchall():
            try:
                line = Line(ChatRequest(json.loads(request), sample), json.loads(made))
            except (ValueError, RecursionError):
                line = None
            if line is not None and self._key_of(line.request.key) == key:
                yield line
            else:
                log.warning("a request of batch %s is damaged and is asked again", values[0])

    def free(self, request: ChatRequest) -> None:
        """Take ``request`` out of its batch, so that it may stand in another."""
        self._database.execute("DELETE FROM batched WHERE key = ?", (self._key_of(request.key),))
