"""Who is asking what at this moment, so that parallel processes never ask the same twice.

A claim is the kernel's lock on one byte of a file beside the cache; which byte follows from what is
claimed. It ends with its process, kill -9 included, so nobody has to find out whether an owner is
still alive, and there is no time limit that could pass too late for the next or too early for a
slow answer. The locks are of the kind that SQLite needs too, but belong to the open file instead of
the process: two caches in one process exclude each other.
"""

import fcntl
import hashlib
import os
import struct
import sys
from pathlib import Path

from mini_lima.errors import UserError

FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi4x"
"""C's struct flock: type, whence, start, length and pid on 64-bit Linux; macOS has the type last but one."""
TYPE = 3 if sys.platform == "darwin" else 0


class InFlight:
    """The claims in the file ``path``, which is made when it is needed and stays."""

    def __init__(self, path: Path) -> None:
        """Claim nothing yet."""
        self._path = path
        self._file = -1

    def take(self, name: str) -> bool:
        """Claim ``name``; False if another has it.

        Raises:
            UserError: the file cannot be made or locked.
        """
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            self._call(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, name)
        except BlockingIOError:
            return False
        except OSError as error:
            raise UserError(
                f"cannot lock {self._path}: {error.strerror}; the response cache needs a file "
                "system with POSIX locks, as SQLite does"
            ) from error
        return True

    def is_free(self, name: str) -> bool:
        """Whether no other has ``name``."""
        if self._file < 0 and not self._path.exists():
            return True
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        found = self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, name)
        return bool(struct.unpack(FLOCK, found)[TYPE] == fcntl.F_UNLCK)

    def release(self, name: str) -> None:
        """Give ``name`` back, if it is ours."""
        if self._file >= 0:
            self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, name)

    def close(self) -> None:
        """Give everything back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _call(self, command: int, kind: int, name: str) -> bytes:
        byte = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
        given = (byte, 1, 0, kind, os.SEEK_SET) if TYPE else (kind, os.SEEK_SET, byte, 1, 0)
        return fcntl.fcntl(self._file, command, struct.pack(FLOCK, *given))
