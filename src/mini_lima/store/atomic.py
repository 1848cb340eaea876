"""A directory that appears whole or not at all.

What is written goes to a partial directory on the same file system, unique to the attempt: a child
process that outlives a killed attempt then writes into nobody else's output. Only when everything
is on the disk does a rename, which the file system does in one step, give it its name.

Who comes second finds the name taken: on a network file system one node may not see yet what
another has finished. Then what is there is as whole as what was to be put there, and stays.
"""

import contextlib
import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def whole_directory(target: Path, key: str) -> Iterator[Path]:
    """Yield an empty directory that becomes ``target`` when the block ends without an exception.

    Args:
        target: Not seen to exist; the caller holds the lock for ``key``.
        key: Says which partial directories are earlier attempts at the same; they are removed.

    Raises:
        OSError: The disk cannot take it. ``target`` does not exist then.
    """
    partial = target.parent / ".partial" / f"{key}-{secrets.token_hex(4)}"
    for leftover in partial.parent.glob(f"{key}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        for folder, _, names in os.walk(partial):
            for name in [*names, "."]:
                _flush(Path(folder, name))
        try:
            os.rename(partial, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            logger.warning("%s: another has finished it meanwhile; theirs stays", target)
        _flush(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(path: Path) -> None:
    """Make the disk have it, or say that it cannot (a full network disk says so only now)."""
    if not path.is_symlink():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
