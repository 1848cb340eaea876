"""Who is asking what at this moment, so that parallel processes never ask the same twice.

A claim is a row in the cache's file: request and owner. An owner is one open cache, and lives as
long as it holds the kernel's lock (flock) on a file named after it. The lock ends with its process,
kill -9 included, so the claims of a dead owner are free at once: there is no time limit that could
pass too late for the next or too early for a slow answer, and no process id that could be another's
by now.
"""

import contextlib
import fcntl
import os
import secrets
import sqlite3
from pathlib import Path

from mini_lima.errors import UserError

TABLE = "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL)"


class Claims:
    """The claims in ``database``; lock files are in ``folder``, made when the first is taken."""

    def __init__(self, database: sqlite3.Connection, folder: Path) -> None:
        """Own nothing yet."""
        self._database = database
        self._folder = folder
        self._owner: str | None = None
        self._lock = -1

    def take(self, key: str) -> bool:
        """Claim ``key``; False if it is answered already or a living owner has it.

        Raises:
            UserError: the lock file cannot be made or locked.
        """
        me = self._owner or self._begin()
        while True:
            taken = self._database.execute(
                "INSERT OR IGNORE INTO claims SELECT ?1, ?2 "
                "WHERE NOT EXISTS (SELECT 1 FROM responses WHERE key = ?1)",
                (key, me),
            ).rowcount
            if taken:
                return True
            owner = self._owner_of(key)
            if owner is None or not self._is_dead(owner):
                return False

    def is_free(self, key: str) -> bool:
        """Whether no living owner has ``key``."""
        owner = self._owner_of(key)
        return owner is None or self._is_dead(owner)

    def release(self, key: str) -> None:
        """Give ``key`` back, if it is ours."""
        if self._owner is not None:
            self._database.execute(
                "DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner)
            )

    def close(self) -> None:
        """Give everything back."""
        if self._owner is None:
            return
        with contextlib.suppress(sqlite3.Error):  # without its lock a claim is void anyway
            self._bury(self._owner)
        os.close(self._lock)
        self._owner = None

    def _owner_of(self, key: str) -> str | None:
        row = self._database.execute("SELECT owner FROM claims WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _bury(self, owner: str) -> None:
        self._database.execute("DELETE FROM claims WHERE owner = ?", (owner,))
        self._file(owner).unlink(missing_ok=True)

    def _file(self, owner: str) -> Path:
        return self._folder / owner

    def _is_dead(self, owner: str) -> bool:
        """Whether nobody holds the lock of ``owner``, whose claims and file are then removed."""
        try:
            descriptor = os.open(self._file(owner), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._bury(owner)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._bury(owner)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _begin(self) -> str:
        try:
            self._folder.mkdir(exist_ok=True)
            for left_behind in os.listdir(self._folder):
                self._is_dead(left_behind)
            while self._owner is None:
                name = secrets.token_hex(8)
                self._lock = os.open(self._file(name), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                if self._file(name).exists():
                    self._owner = name
                else:  # taken for dead between the two lines above
                    os.close(self._lock)
        except OSError as error:
            raise UserError(
                f"cannot lock a file in {self._folder}: {error.strerror}; the response cache needs "
                "a file system with flock"
            ) from error
        return self._owner
