"""One builder at a time, across processes, with nothing to clean up after a crash.

The kernel holds the lock (flock), so it ends with its holder, kill -9 included, and whoever waits
goes on at once. Lock files that are deleted, or that go stale after a time limit, have neither
property: two processes can then hold "the same" lock on two different files. So the file stays for
ever, and what is written in it is for people only.
"""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mini_lima.errors import UserError

logger = logging.getLogger(__name__)

_open_locks: set[int] = set()
"""As the kernel's table of open files, a property of the process: a forked child must close them."""


@contextlib.contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock in ``path`` for the block, waiting for it as long as it takes.

    When it has to wait it says so once, at level INFO, with the holder's pid and host.

    Args:
        path: The lock file; made when missing, never deleted.
        purpose: What the lock is for, in the waiting message.

    Raises:
        UserError: The file cannot be made, or its file system has no flock.
    """
    with _opened(path) as descriptor:
        try:
            if not _taken(descriptor):
                holder = os.pread(descriptor, 300, 0).decode(errors="replace").strip()
                logger.info(
                    "%s: waiting for %s, who is at it", purpose, holder or "another process"
                )
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"cannot lock {path}: {error.strerror}; the store needs a file system with flock"
            ) from error
        with contextlib.suppress(OSError):  # on a full disk the lock still holds, unsigned
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock in ``path`` for the block, if nobody else does.

    Yields:
        Whether it is held.
    """
    with _opened(path) as descriptor:
        yield _taken(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Yield the descriptor of a lock file; closing it is what lets go of the lock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {error.strerror}") from error
    _open_locks.add(descriptor)
    try:
        yield descriptor
    finally:
        _close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close(descriptor: int) -> None:
    if descriptor in _open_locks:
        _open_locks.discard(descriptor)
        os.close(descriptor)


def _drop_in_forked_child() -> None:
    """Leave the lock to the parent alone.

    A forked child (a worker of a data loader) shares the open file, and with it the lock: it would
    go on holding it after its parent is dead.
    """
    for descriptor in list(_open_locks):
        _close(descriptor)


os.register_at_fork(after_in_child=_drop_in_forked_child)
