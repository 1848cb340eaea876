"""The response cache: what was answered once, and perhaps paid for, is never asked again.

SQLite, because parallel processes share one file and a killed process must lose nothing that had
arrived. A row is keyed by who answered (the endpoint's identity) and what was asked (the request's
key); it holds request and response whole, so that a cache can be exported without the run that
filled it. Rows are only ever added: the first answer to a request is its answer.

Other tables stand beside it under the same key: ``making``, how an answer was got (seconds, adapted
parameters, batch), which a ledger wants to know and a reply does not; ``checksums``, the sha256 of
the response; ``failed``, why a request has no answer, with what came in place of one; and the
batches (`batch_table`). Who is asking at this moment stands in a file beside it (`in_flight`). A row
whose request or response is not what was written is no answer: that is said, and the request is
asked again.

The journal beside the file is WAL on a machine's own disk: fast, and a killed process loses nothing
by it; but its index is memory that processes share, so it is for those of one machine alone. On a
network file system, where another node may have the same file open, SQLite keeps a rollback
journal: it needs only the locks that the store needs too, and takes some flushes per
answer, which is little beside the asking. The journal is a property of the file, the same for all
who open it. So one that is there already changes only towards the safe side: a server's own disk is
a network file system to its clients.
"""

import hashlib
import json
import logging
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from mini_lima.chat import batch_table
from mini_lima.chat.in_flight import InFlight
from mini_lima.chat.replies import CassetteEntry, Reply
from mini_lima.chat.requests import ChatRequest, canonical_json
from mini_lima.errors import UserError

log = logging.getLogger(__name__)
LAYOUT = 1
SECONDS_TO_WAIT_FOR_OTHERS = 60.0
MOUNTS = Path("/proc/self/mounts")
OF_SEVERAL_MACHINES = re.compile(
    r"nfs4?|lustre|beegfs|gpfs|ceph|cifs|smb3?|smbfs|afs|9p|virtiofs|panfs|pvfs2|orangefs|gfs2"
    r"|ocfs2|wekafs|fuse\..*"
)


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
    "CREATE TABLE IF NOT EXISTS checksums (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL)",
    """
CREATE TABLE IF NOT EXISTS failed (
    key         TEXT PRIMARY KEY,
    endpoint    TEXT NOT NULL,
    request_key TEXT NOT NULL,
    request     TEXT NOT NULL,
    error       TEXT NOT NULL,
    detail      TEXT,
    received    TEXT,
    failed_at   REAL NOT NULL
)
""",
    *batch_table.TABLES,
)
KEPT = """
SELECT request_key, request, sample, response, made, sha256
FROM responses LEFT JOIN making USING (key) LEFT JOIN checksums USING (key)
"""


class _Kept(NamedTuple):
    """An answer: to what, its body, how it was made, and whether there was a checksum to it."""

    request: ChatRequest
    response: Any
    made: dict[str, Any]
    proved: bool

    @classmethod
    def of(
        cls,
        request_key: str,
        request: str,
        sample: int,
        response: str,
        made: str | None,
        sha256: str | None,
    ) -> Self:
        """Read a row of ``KEPT``; raise ValueError if it is not as it was written."""
        asked = ChatRequest(json.loads(request), sample)
        if asked.key != request_key or sha256 not in (None, _sha256(response)):
            raise ValueError("not what was written")
        return cls(asked, json.loads(response), json.loads(made or "{}"), sha256 is not None)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseCache:
    """The answers of one endpoint in the cache file ``path``, which is made if it is not there.

    Attributes:
        batches: The table of its batches.

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
            # What is not UTF-8 is damaged: found in a row, instead of ending the query.
            self._database.text_factory = lambda raw: raw.decode(errors="replace")
            self._prepare(path)
            self._in_flight = InFlight(path.with_name(f"{path.name}-in-flight"))
            self.batches = batch_table.BatchTable(
                self._database, endpoint, self._in_flight, self._key
            )
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
        _choose_journal(self._database, path, new=layout == 0)
        for table in TABLES:
            self._database.execute(table)
        self._database.execute(f"PRAGMA user_version = {LAYOUT}")

    def get(self, request: ChatRequest) -> tuple[Any, dict[str, Any]] | None:
        """What ``request`` was answered with, and how that was made as far as it is known."""
        kept = self._kept(request.key)
        return None if kept is None else (kept.response, kept.made)

    def entry(self, request_key: str) -> CassetteEntry | None:
        """Request and response under ``request_key``, None if it was not answered."""
        kept = self._kept(request_key)
        return None if kept is None else CassetteEntry(kept.request, kept.response, self._endpoint)

    def has(self, request: ChatRequest) -> bool:
        """Whether there is an answer to ``request``."""
        return self._kept(request.key) is not None

    def _kept(self, request_key: str) -> _Kept | None:
        """The answer to a request; None, with a line in the log, of one that is damaged."""
        try:
            row = self._database.execute(
                f"{KEPT} WHERE key = ?", (self._key(request_key),)
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"the response cache {self._path} cannot be read ({error}): move it away, or put"
                " an intact copy in its place"
            ) from error
        try:
            return None if row is None else _Kept.of(*row)
        except (ValueError, RecursionError):
            log.warning(
                "the answer to request %s in %s is damaged and counts as none",
                request_key,
                self._path,
            )
            return None

    def put(
        self, request: ChatRequest, response: Any, made: Mapping[str, Any] | None = None
    ) -> bool:
        """Keep ``response``, on disk when this returns; an answer that is already there stays.

        Args:
            request: What was asked; our claim on it ends, and so does its place in a batch.
            response: The body that came back.
            made: How it was made, as JSON types.

        Returns:
            Whether there was no answer before.
        """
        key = self._key(request.key)
        texts = (canonical_json(request.body), json.dumps(response, ensure_ascii=False))
        row = (key, self._endpoint, request.key, request.sample, *texts, time.time())
        with self._writing():
            self._database.execute("BEGIN IMMEDIATE")
            if added := not self.has(request):
                of_key = {
                    "responses VALUES (?, ?, ?, ?, ?, ?, ?)": row,
                    "checksums VALUES (?, ?)": (key, _sha256(texts[1])),
                    "making VALUES (?, ?)": (key, json.dumps(made or {})),
                }
                for values, each in of_key.items():
                    self._database.execute(f"INSERT OR REPLACE INTO {values}", each)
            for table in ("batched", "failed"):
                self._database.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
        self._in_flight.release(key)
        return added

    def keep_failure(self, request: ChatRequest, reply: Reply, received: str | None) -> None:
        """Keep why ``request`` has no answer; it may be asked again.

        Args:
            request: What was asked.
            reply: Says why.
            received: What came in place of an answer.
        """
        row = (self._key(request.key), self._endpoint, request.key, canonical_json(request.body))
        with self._writing():
            self._database.execute(
                "INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, reply.error, reply.detail, received, time.time()),
            )

    def set_aside(self, request: ChatRequest, reply: Reply) -> None:
        """Take what was kept for the answer to ``request``, and is none, for a failure."""
        key = self._key(request.key)
        kept = self._database.execute("SELECT response FROM responses WHERE key = ?", (key,))
        received = kept.fetchone()
        self.keep_failure(request, reply, received[0] if received else None)
        with self._writing():
            self._database.execute("DELETE FROM responses WHERE key = ?", (key,))

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
        if not self._in_flight.take(self._key(request.key)):
            return False
        # Looked at last: only who has the claim can answer the request or put it into a batch.
        if self.has(request) or self.batches.is_open(request):
            self.release(request)
            return False
        return True

    def release(self, request: ChatRequest) -> None:
        """Let others ask ``request``."""
        self._in_flight.release(self._key(request.key))

    def is_free(self, request: ChatRequest) -> bool:
        """Whether no one else is asking ``request`` now and no open batch holds it."""
        return self._in_flight.is_free(self._key(request.key)) and not self.batches.is_open(request)

    def _key(self, request_key: str) -> str:
        return hashlib.sha256(f"{self._endpoint}\n{request_key}".encode()).hexdigest()

    def close(self) -> None:
        """Let go of all claims and the file."""
        self._in_flight.close()
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


def damage(path: Path) -> tuple[list[str], int]:
    """Read the whole cache in ``path``; nothing is changed.

    Returns:
        A line for each fault, and the number of answers without a checksum: earlier versions
        wrote none.
    """
    found, unknown = [], 0
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS_TO_WAIT_FOR_OTHERS)) as database:
            database.text_factory = lambda raw: raw.decode(errors="replace")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "checksums" not in tables:
                database.execute("ATTACH ':memory:' AS empty")
                database.execute("CREATE TABLE empty.checksums (key, sha256)")
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
            found += [] if said == "ok" else [f"{path}: {said}"]
            for row in database.execute(KEPT):
                try:
                    unknown += not _Kept.of(*row).proved
                except (ValueError, RecursionError):
                    found.append(f"{path}: the answer to request {row[0]} will be asked for again")
    except sqlite3.DatabaseError as error:
        found.append(f"{path}: cannot be read ({error})")
    return found, unknown


def _choose_journal(database: sqlite3.Connection, path: Path, *, new: bool) -> None:
    """Set the journal of ``database``, whose file is ``path``; ``new`` if nobody has used it yet.

    Raises:
        sqlite3.Error: it would have to change, and another process has the file open.
    """
    mounts = MOUNTS.read_text(encoding="utf-8") if MOUNTS.is_file() else ""
    if OF_SEVERAL_MACHINES.fullmatch(file_system(path, mounts)):
        database.execute("PRAGMA journal_mode = DELETE")
    elif new:
        database.execute("PRAGMA journal_mode = WAL")
    # A killed process loses nothing in either; in WAL a power failure may cost the last answers,
    # and a flush per answer would cost every run.
    database.execute("PRAGMA synchronous = NORMAL")


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that ``path`` is on, by the lines of /proc/mounts.

    Empty if they do not say: outside Linux.
    """
    found, longest = "", -1
    for line in mounts.splitlines():
        _, at, kind, *_ = line.split()
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), at))
        # Of two on the same folder the later one is what is seen.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = kind, len(point.parts)
    return found
