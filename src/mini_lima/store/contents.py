"""What the files of a finished folder were, so that damage is noticed instead of used.

A list of them is written when the folder is finished: size, time of the last change and sha256. Who
uses the folder compares names, sizes and times, which costs no reading; where a time differs, as in
a copy, the content decides. A disk that changes bits without changing times is found by reading
everything (``content``, which is what ``mini-lima store verify`` does).
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_json
from mini_lima.store.fingerprint import digest, file_hash, files_below

STAGE = "stage.json"
Listed = dict[str, dict[str, Any]]
"""By the path in the folder: ``size`` in bytes, ``mtime_ns`` and ``sha256``, as JSON holds it."""


def listed(folder: Path, *, without: Collection[str] = ()) -> Listed:
    """Return the list of the files in ``folder``, all of which are read.

    Args:
        folder: It is finished, and nobody writes into it any more.
        without: Files and folders in it that are left out.
    """
    found: Listed = {}
    for name, file in sorted(_files(folder, without)):
        status = file.stat()
        size, time = status.st_size, status.st_mtime_ns
        found[name] = {"size": size, "mtime_ns": time, "sha256": file_hash(file)}
    return found


def differences(
    folder: Path, files: Mapping[str, Any], *, without: Collection[str] = (), content: bool = False
) -> Iterator[str]:
    """Yield what of ``folder`` is not as it is ``listed`` in ``files``, a line for each file.

    Args:
        folder: As it is now.
        files: The list.
        without: What is left out, as for `listed`.
        content: Whether to read every file, not only those that seem to have changed.
    """
    there = dict(_files(folder, without))
    for name, was in files.items():
        if name not in there:
            yield f"{name} is gone"
            continue
        try:
            status = there[name].stat()
            if status.st_size != was["size"]:
                yield f"{name} has {status.st_size} bytes instead of {was['size']}"
            elif (content or status.st_mtime_ns != was["mtime_ns"]) and (
                file_hash(there[name]) != was["sha256"]
            ):
                yield f"{name} has another content"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"
    for name in sorted(there.keys() - files.keys()):
        yield f"{name} was added"


def describe(
    folder: Path, record: Mapping[str, Any], *, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return what ``record``, that of the finished stage in ``folder``, is to say of both."""
    files = listed(folder, without=without)
    return {"record": digest(record), "files": files, "without": list(without)}


def damage(folder: Path, *, content: bool = False) -> list[str] | None:
    """Return what of a finished stage is not as it was when it was finished.

    Returns:
        A line for each fault, empty if there is none; None if that is not known, since the stage
        was finished by a version that did not list the files.
    """
    try:
        record = read_json(folder / STAGE)
        described = record.pop("contents", None)
        if described is None and record["identity"]["fingerprint"]:
            return None
        if described["record"] != digest(record):
            return [f"{STAGE} has another content"]
        files, without = described["files"], described["without"]
        return [*differences(folder, files, without=without, content=content)]
    except OSError as error:
        return [f"{Path(error.filename or STAGE).name} cannot be read ({error.strerror})"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return [f"{STAGE} has another content"]


def check(folder: Path) -> None:
    """Refuse to use a finished stage that is damaged.

    Raises:
        UserError: with what is wrong, and what to do.
    """
    if found := damage(folder):
        raise UserError(refusal(folder, found))


def refusal(folder: Path, found: list[str]) -> str:
    """Say in a line that ``folder`` is damaged, and what to do."""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"{folder} is damaged: {found[0]}{more}: undo that, or remove the folder and run the"
        " same command again, which makes what it needs"
    )


def _files(folder: Path, without: Collection[str]) -> Iterator[tuple[str, Path]]:
    for file in files_below(folder):
        path = file.relative_to(folder)
        if path.parts[0] not in without and path.parts != (STAGE,):
            yield path.as_posix(), file
