"""Files from the web, named by what is in them: fetched once, and checked against their sha256.

A file that is published on a branch may be another one tomorrow; with its sha256 in the
configuration a data set says what it was made from, and nothing else passes for it.
"""

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.store.fingerprint import content_hash

SECONDS = 30.0
"""How long a server may be silent."""
LARGEST = 200_000_000
"""Bytes; what is larger is no file of seed tasks or reference outputs."""


def download(url: str, sha256: str, folder: Path) -> Path:
    """Return the file at ``url``, from ``folder`` if it was fetched before.

    Asked once per process: where nothing answers, a person waits for one time-out, not for one per
    cell of a sweep.

    Raises:
        UserError: it cannot be had, or has another sha256.
    """
    found = _download(url, sha256.lower(), folder.absolute())
    if isinstance(found, str):
        raise UserError(found)
    return found


def check(path: Path, sha256: str) -> None:
    """Raise UserError if the contents of ``path`` have another sha256, or cannot be read."""
    try:
        found = content_hash(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if found != sha256.lower():
        raise UserError(_another_file(str(path), found, sha256.lower()))


@cache
def _download(url: str, sha256: str, folder: Path) -> Path | str:
    target = folder / f"{sha256}{Path(url.partition('?')[0]).suffix}"
    if target.is_file() and content_hash(target) == sha256:
        return target
    contents = _fetched(url)
    if isinstance(contents, str):
        remedy = "check the address and the network, or download the file and give its path"
        return f"{url} cannot be had ({contents}): {remedy}"
    found = hashlib.sha256(contents).hexdigest()
    if found != sha256:
        return _another_file(url, found, sha256)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(target, contents)
    except OSError as error:
        return f"{url} cannot be kept as {target}: {error}"
    return target


def _fetched(url: str) -> bytes | str:
    """What is at ``url``, or why it is not to be had, in a few words."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=SECONDS) as response:
            contents: bytes = response.read(LARGEST + 1)
            announced = response.headers.get("Content-Length")
    except (OSError, ValueError, HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    if len(contents) > LARGEST:
        return f"it is larger than {LARGEST} bytes"
    if announced and announced.isdigit() and int(announced) != len(contents):
        return f"the connection ended after {len(contents)} of {announced} bytes"
    return contents


def _write(target: Path, contents: bytes) -> None:
    """Write through a temporary file: a reader sees the whole file or none."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _another_file(where: str, found: str, expected: str) -> str:
    return (
        f"{where} has the sha256 {found}, not {expected}: it is not the file that was meant; look"
        " at it, and if it is right, correct the sha256 in the configuration"
    )
