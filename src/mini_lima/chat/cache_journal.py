"""Which journal SQLite keeps beside the response cache.

WAL is fast, and a killed process loses nothing by it; but its index is memory that processes share,
so it is for those of one machine alone. On a network file system, where another node may have the
same file open, SQLite keeps a rollback journal: it needs nothing but the locks that the store needs
anyhow, and takes some flushes per answer, which is little beside the asking.

The journal is a property of the file, the same for all who open it. So one that is there already
changes only towards the safe side: a server's own disk is a network file system to its clients.
"""

import re
import sqlite3
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
OF_SEVERAL_MACHINES = re.compile(
    r"nfs4?|lustre|beegfs|gpfs|ceph|cifs|smb3?|smbfs|afs|9p|virtiofs|panfs|pvfs2|orangefs|gfs2"
    r"|ocfs2|wekafs|fuse\..*"
)


def choose(database: sqlite3.Connection, path: Path, *, new: bool) -> None:
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
