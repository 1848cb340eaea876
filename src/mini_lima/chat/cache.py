"""The response cache: what was answered once, and perhaps paid for, is never asked again.

SQLite, because parallel processes share one file and a killed process must lose nothing that had
arrived (`cache_journal`). A row is keyed by who answered (the endpoint's identity) and what was
asked (the request's key); it holds request and response whole, so that a cache can be exported
without the run that filled it. Rows are only ever added: the first answer to a request is its
answer.

Other tables stand beside it under the same key: ``making``, how an answer was got (seconds, adapted
parameters, batch), which a ledger wants to know and a reply does not; the `claims` of processes
that are asking at this moment; and the `batch.book` of batches.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mini_lima.chat import cache_journal, in_flight
from mini_lima.chat.batch import batch_table
from mini_lima.chat.cassette import CassetteEntry
from mini_lima.chat.requests import ChatRequest, canonical_json
from mini_lima.errors import UserError

LAYOUT = 1
SECONDS_TO_WAIT_FOR_OTHERS = 60.0
TABLES = (
    """
CREATE TABLE IF NOT EXISTS responses (
    key         TEXT PRIMARY KEY,
    endpoint    TEXT NOT NULL,
    request_key TEXT NOT NULL,
    sample      INTEGER NOT NULL,
    request     TEXT NOT NULL,
    response    TEXT NOT NULL,
    answered_at REAL NOT NULL
)
""",
    "CREATE TABLE IF NOT EXISTS making (key TEXT PRIMARY KEY, made TEXT NOT NULL)",
    in_flight.TABLE,
    *batch_table.TABLES,
)


class ResponseCache:
    """The answers of one endpoint in the cache file ``path``, which is made if it is not there.

    Attributes:
        batches: The book of its batches.

    Raises:
        UserError: ``path`` is no such file, cannot be written, or has another layout.
    """

    def __init__(self, path: Path, endpoint: str) -> None:
        """Open ``path`` for the endpoint with identity ``endpoint``."""
        self._endpoint = endpoint
        try:
            path = path.resolve()  # a link to a shared cache leads to the claims beside it, too
            path.parent.mkdir(parents=True, exist_ok=True)
            self._path = path
            self._database = sqlite3.connect(
                path, timeout=SECONDS_TO_WAIT_FOR_OTHERS, isolation_level=None
            )
            self._prepare(path)
            self._claims = in_flight.Claims(self._database, path.with_name(f"{path.name}-claims"))
            self.batches = batch_table.BatchBook(self._database, endpoint, self._claims, self._key)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"the response cache {path} cannot be used ({error}): name another file or move "
                "this one away"
            ) from error

    def _prepare(self, path: Path) -> None:
        (layout,) = self._database.execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            raise UserError(
                f"the response cache {path} has layout {layout}, this program reads {LAYOUT}: use "
                "the newer program or another file"
            )
        cache_journal.choose(self._database, path, new=layout == 0)
        for table in TABLES:
            self._database.execute(table)
        self._database.execute(f"PRAGMA user_version = {LAYOUT}")

    def get(self, request: ChatRequest) -> Any | None:
        """The response body that ``request`` was answered with, None if it was not."""
        row = self._database.execute(
            "SELECT response FROM responses WHERE key = ?", (self._key(request.key),)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def entry(self, request_key: str) -> CassetteEntry | None:
        """Request and response under ``request_key``, None if it was not answered."""
        row = self._database.execute(
            "SELECT request, response, sample FROM responses WHERE key = ?",
            (self._key(request_key),),
        ).fetchone()
        if row is None:
            return None
        return CassetteEntry(json.loads(row[0]), json.loads(row[1]), row[2], self._endpoint)

    def has(self, request: ChatRequest) -> bool:
        """Whether ``request`` was answered."""
        return (
            self._database.execute(
                "SELECT 1 FROM responses WHERE key = ?", (self._key(request.key),)
            ).fetchone()
            is not None
        )

    def making(self, request: ChatRequest) -> dict[str, Any]:
        """How the answer to ``request`` was made; empty if that is not known."""
        row = self._database.execute(
            "SELECT made FROM making WHERE key = ?", (self._key(request.key),)
        ).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def put(
        self, request: ChatRequest, response: Any, made: Mapping[str, Any] | None = None
    ) -> None:
        """Keep ``response``, on disk when this returns; an answer that is already there stays.

        Args:
            request: What was asked; our claim on it ends, and so does its place in a batch.
            response: The body that came back.
            made: How it was made, as JSON types.
        """
        self._insert(request.key, request.sample, request.body, response, made)

    def put_entry(self, entry: CassetteEntry, made: Mapping[str, Any] | None = None) -> bool:
        """As `put`; whether the answer is new."""
        return self._insert(entry.key, entry.sample, entry.body, entry.response, made)

    def _insert(
        self,
        request_key: str,
        sample: int,
        body: dict[str, Any],
        response: Any,
        made: Mapping[str, Any] | None,
    ) -> bool:
        key = self._key(request_key)
        row = (key, self._endpoint, request_key, sample)
        texts = (canonical_json(body), _storable(response))
        with self._writing():
            self._database.execute("BEGIN IMMEDIATE")
            added = self._database.execute(
                "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, *texts, time.time()),
            ).rowcount
            if added and made:
                self._database.execute(
                    "INSERT OR REPLACE INTO making VALUES (?, ?)", (key, json.dumps(made))
                )
            self._database.execute("DELETE FROM batched WHERE key = ?", (key,))
            self._claims.release(key)
        return bool(added)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction; raise UserError where the disk cannot take it."""
        try:
            with self._database:
                yield
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the response cache {self._path} cannot take another answer ({error}): see to"
                " that and run the same command again; the answers before are kept"
            ) from error

    def claim(self, request: ChatRequest) -> bool:
        """Whether ``request`` is ours to ask: not answered, not being asked, in no open batch."""
        if not self._claims.take(self._key(request.key)):
            return False
        # Looked at last: only who has the claim can put the request into a batch.
        if self.batches.holds(request):
            self.release(request)
            return False
        return True

    def release(self, request: ChatRequest) -> None:
        """Let others ask ``request``."""
        self._claims.release(self._key(request.key))

    def is_free(self, request: ChatRequest) -> bool:
        """Whether no one is asking ``request`` now and no open batch holds it."""
        return self._claims.is_free(self._key(request.key)) and not self.batches.holds(request)

    def _key(self, request_key: str) -> str:
        return hashlib.sha256(f"{self._endpoint}\n{request_key}".encode()).hexdigest()

    def close(self) -> None:
        """Let go of all claims and the file."""
        self._claims.close()
        self._database.close()

    def __enter__(self) -> Self:
        """Return the cache itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _storable(response: Any) -> str:
    """JSON of ``response`` that is valid Unicode.

    A reply cut in the middle of an emoji can end in half a surrogate pair, which JSON lets through
    as an escape and no UTF-8 file can hold: such a half becomes U+FFFD here, before anyone sees it.
    """
    text = json.dumps(response, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
