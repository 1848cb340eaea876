"""What may lie where a record is expected: each makes it at a path that is free."""

import os
from pathlib import Path


def text(content: str | bytes):
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda path: path.write_bytes(raw)


def huge(path: Path) -> None:
    """Make a file of which nothing is on the disk."""
    path.touch()
    os.truncate(path, 2**33)


BAD = {
    "empty": text(""),
    "binary": text(b"\xff\x00" * 50),
    "cut": text('{"identity": {'),
    "no object": text("[1]"),
    "other types": text('{"identity": {"inputs": [], "fingerprint": 3}, "stages": [2]}'),
    "nested deeply": text("[" * 100_000),
    "a huge number": text('{"provenance": {"seconds": ' + "9" * 5_000 + "}}"),
    "8 GB": huge,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
}
