"""The response cache: what was answered once, and perhaps paid for, is never asked again.

SQLite in WAL mode, because parallel processes share one file and a killed process must lose nothing
that had arrived. A row is keyed by who answered (the endpoint's identity) and what was asked (the
request's key); it holds request and response whole, so that a cache can be exported without the run
that filled it. Rows are only ever added: the first answer to a request is its answer. Who is asking
what at this moment is no business of this table; claims can stand beside it under the same key.
"""

import hashlib
import json
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mini_lima.chat.requests import ChatRequest, canonical_json
from mini_lima.errors import UserError

LAYOUT = 1
SECONDS_TO_WAIT_FOR_OTHERS = 60.0
TABLE = """
CREATE TABLE IF NOT EXISTS responses (
    key         TEXT PRIMARY KEY,
    endpoint    TEXT NOT NULL,
    request_key TEXT NOT NULL,
    sample      INTEGER NOT NULL,
    request     TEXT NOT NULL,
    response    TEXT NOT NULL,
    answered_at REAL NOT NULL
)
"""


class ResponseCache:
    """The answers of one endpoint in the cache file ``path``, which is made if it is not there.

    Raises:
        UserError: ``path`` is no such file, cannot be written, or has another layout.
    """

    def __init__(self, path: Path, endpoint: str) -> None:
        """Open ``path`` for the endpoint with identity ``endpoint``."""
        self._endpoint = endpoint
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path, timeout=SECONDS_TO_WAIT_FOR_OTHERS, isolation_level=None
            )
            self._prepare(path)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"the response cache {path} cannot be used ({error}): name another file or move "
                "this one away"
            ) from error

    def _prepare(self, path: Path) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL loses nothing to a killed process and never corrupts the file; only a
        # power failure may cost the last answers, and a flush per answer would cost every run.
        self._database.execute("PRAGMA synchronous = NORMAL")
        (layout,) = self._database.execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            raise UserError(
                f"the response cache {path} has layout {layout}, this program reads {LAYOUT}: use "
                "the newer program or another file"
            )
        self._database.execute(TABLE)
        self._database.execute(f"PRAGMA user_version = {LAYOUT}")

    def get(self, request: ChatRequest) -> Any | None:
        """The response body that ``request`` was answered with, None if it was not."""
        row = self._database.execute(
            "SELECT response FROM responses WHERE key = ?", (self._key(request),)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def has(self, request: ChatRequest) -> bool:
        """Whether ``request`` was answered."""
        return (
            self._database.execute(
                "SELECT 1 FROM responses WHERE key = ?", (self._key(request),)
            ).fetchone()
            is not None
        )

    def put(self, request: ChatRequest, response: Any) -> None:
        """Keep ``response``, on disk when this returns; an answer that is already there stays."""
        self._database.execute(
            "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._key(request),
                self._endpoint,
                request.key,
                request.sample,
                canonical_json(request.body),
                _storable(response),
                time.time(),
            ),
        )

    def _key(self, request: ChatRequest) -> str:
        return hashlib.sha256(f"{self._endpoint}\n{request.key}".encode()).hexdigest()

    def close(self) -> None:
        """Let go of the file."""
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
