"""What makes two pieces of work the same: a canonical form of values, a hash of file contents.

A fingerprint that is too coarse hands out a result that was made with something else; one that is
too fine repeats hours of work. Both are silent. So the form is injective by construction and
refuses what has no lasting meaning of its own, instead of falling back on ``repr`` or pickle, whose
bytes differ between processes and library versions.

The canonical form is plain JSON with sorted keys, which a person can read in ``stage.json`` and
hash again. Numbers keep their type (``1``, ``1.0`` and ``true`` are three values; so are ``0.0``
and ``-0.0``), a tuple is the list of its items, and an enum member or a dataclass carries its
class's name, so that two optimizers with equal fields stay two optimizers. Its module does not
enter: moving a class is no reason to train again.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from mini_lima.files import open_regular

_TAG = "!"
_CLOCK_GRAIN_NS = 2_000_000_000


def plain(value: Any, path: str) -> Any:
    """Return ``value`` as JSON types, distinct values as distinct documents.

    Args:
        value: None, bool, int, float, str, list, tuple, dict, enum member or dataclass, nested. An
            object with an ``identity`` of its own (a service, say, whatever its address is today)
            is identified by that alone.
        path: How the value is called in an error, such as ``params``.

    Raises:
        ValueError: Something inside has no stable form; the message names its path.
    """
    match value:
        case Enum():
            member = f"{type(value).__qualname__}.{value.name}"
            return {f"{_TAG}enum": member, f"{_TAG}value": plain(value.value, f"{path}.value")}
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{path}: {value} has no stable form; use None or a finite number")
            return value
        case str():
            return _text(value, path)
        case list() | tuple():
            return [plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case dict():
            return {_key(key, path): plain(item, f"{path}.{key}") for key, item in value.items()}
        case Path():
            raise ValueError(
                f"{path}: a path says where, not what; pass {value} as file or setting"
            )
    if isinstance(getattr(type(value), "identity", None), property):
        own = plain(value.identity, f"{path}.identity")
        return {f"{_TAG}class": type(value).__qualname__, f"{_TAG}identity": own}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return {f"{_TAG}dataclass": type(value).__qualname__, **plain(fields, path)}
    raise ValueError(f"{path}: a {type(value).__qualname__} has no stable form to identify it by")


def _key(key: Any, path: str) -> str:
    if type(key) is not str:
        raise ValueError(f"{path}: the key {key!r} is not a string")
    # A key of the caller's that looks like one of our tags gets a second mark.
    return (_TAG if key.startswith(_TAG) else "") + _text(key, path)


def _text(text: str, path: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{path}: {text!r} is not valid Unicode")
    return text


def canonical(document: Any) -> bytes:
    """Return the one spelling of a document made of JSON types."""
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(document: Any) -> str:
    """Return the sha256 of a document made of JSON types, in hex."""
    return hashlib.sha256(canonical(document)).hexdigest()


def content_hash(path: Path) -> str:
    """Return what identifies the content of a file, or of a folder and all below it.

    A file's hash is its sha256, as ``sha256sum`` prints it. A folder's is ``tree:`` and the digest
    of its sorted ``[relative path, sha256]`` pairs.

    Raises:
        OSError: Something cannot be read, or is neither a file nor a folder.
    """
    if not path.is_dir():
        return file_hash(path)
    pairs = [(file.relative_to(path).as_posix(), file_hash(file)) for file in files_below(path)]
    return f"tree:{digest(plain(sorted(pairs), str(path)))}"


def files_below(path: Path) -> Iterator[Path]:
    """Yield the files in a folder and all below it.

    Links count as what they point at (the hub's cache is made of links). Hidden entries are left
    out: they hold an editor's, a downloader's or git's notes with dates in them, and no model or
    data set is read from them.

    Raises:
        OSError: A folder cannot be read.
    """
    for folder, folders, names in os.walk(path, onerror=_reraise, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _reraise(error: OSError) -> None:
    raise error


def file_hash(path: Path) -> str:
    """Return a file's sha256, read once per process, as long as the file system says that it is the same."""
    status = os.stat(path)
    # A file as young as the clock's grain could be rewritten without looking different.
    is_settled = time.time_ns() - status.st_mtime_ns > _CLOCK_GRAIN_NS
    return (_remembered_hash if is_settled else _hash_of)(path.absolute(), _state(status))


def _state(status: os.stat_result) -> tuple[int, ...]:
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def _hash_of(path: Path, state: tuple[int, ...]) -> str:
    with open_regular(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if _state(os.fstat(file.fileno())) != state:
            raise OSError(0, "changed while it was read", str(path))
    return found


_remembered_hash = functools.lru_cache(maxsize=10_000)(_hash_of)


def dotted_name(function: Callable[..., Any]) -> str:
    """Return the shortest dotted name under which ``function`` can be imported.

    A package that shows a function of one of its modules gives it a name that outlives moves inside
    the package.
    """
    module = function.__module__
    if module == "__main__":  # other processes know it by the name under which it is imported
        running = sys.modules[module]
        file = getattr(running, "__file__", None) or module
        module = running.__spec__.name if running.__spec__ else Path(file).stem
    parts = module.split(".")
    for length in range(1, len(parts)):
        name = ".".join([*parts[:length], function.__name__])
        package = sys.modules.get(".".join(parts[:length]))
        hidden = name in sys.modules  # behind the module of that name, which is imported first
        if not hidden and getattr(package, function.__name__, None) is function:
            return name
    return f"{module}.{function.__qualname__}"
