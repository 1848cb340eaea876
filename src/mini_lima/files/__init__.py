"""JSON and JSON Lines: UTF-8 without ASCII escapes, and typed rows where a person wrote them."""

import contextlib
import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from annotated_types import Predicate

from mini_lima.errors import UserError, listed

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError


def is_not_blank(text: str) -> bool:
    """Whether there is something in ``text`` besides spaces."""
    return not text.isspace() and text != ""


Text = Annotated[str, Predicate(is_not_blank)]
Typed = TypeVar("Typed")
MOST_BYTES = 2_000_000_000
"""Of a file that is read whole, and of what a packed one unpacks to."""
LFS_POINTER = b"version https://git-lfs"
"""How a file begins that holds, in place of its contents, where Git LFS keeps them."""
MOST_NESTED = 100
"""Levels of a document that somebody else may have written."""


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file; raises as `read_bytes`, and UnicodeDecodeError."""
    return read_bytes(path).decode(encoding)


def read_bytes(path: Path) -> bytes:
    """Return what is in a regular file; a pipe or a device may never end.

    Raises:
        OSError: it cannot be read, is no regular file, or larger than any that we or AlpacaEval
            write.
    """
    with open_regular(path) as file:
        _check_size(path, os.fstat(file.fileno()).st_size)
        return file.read()


def _check_size(path: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MOST_BYTES / 1e9:g} GB", str(path))


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file; raise OSError for anything else, without waiting for its other end."""
    with open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        yield file


NOT_TEXT = {
    LFS_POINTER: "a pointer of Git LFS to the file: run git lfs pull",
    b"\x1f\x8b": "packed with gzip: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it",
    b"BZh": "packed with bzip2: unpack it",
    b"\xfd7zXZ": "packed with xz: unpack it",
    b"PAR1": "in Parquet: where a Parquet file is read, its name ends with .parquet",
    b"ARROW1": "in Arrow: write it as JSON Lines",
    b"SQLite format": "an SQLite database: write its rows as JSON Lines",
    b"%PDF": "a PDF",
    b"\xff\xfe": "a text in UTF-16: save it in UTF-8",
    b"\xfe\xff": "a text in UTF-16: save it in UTF-8",
    b"<!DOCTYPE": "an HTML page: download the file itself",
    b"<!doctype": "an HTML page: download the file itself",
    b"<html": "an HTML page: download the file itself",
}
"""How files begin that are taken for a text by mistake, and what is said of them."""


def is_lfs_pointer(file: Path) -> bool:
    """Whether ``file`` is a pointer of Git LFS, which a pipe or a folder is not."""
    if not file.is_file():  # reading a pipe would wait for ever
        return False
    with file.open("rb") as opened:
        return opened.read(len(LFS_POINTER)) == LFS_POINTER


def read_json(path: Path) -> Any:
    """Return the document in ``path``, which this program has written itself.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def look_again(folder: Path) -> None:
    """Have a network file system show what others have written in ``folder`` just now.

    It may show an old listing for a minute; a change of the folder's own, this one of nothing, has
    it ask the server. Who may not change the folder sees what there is to see.
    """
    with contextlib.suppress(PermissionError):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode))


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` so that a reader sees the old file or the whole new one, never a part."""
    write_text(path, json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as `replaced` does."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a new file beside ``path`` that takes its place, in one step, when the block ends well.

    Raises:
        OSError: also where ``path`` is something else than a file, such as a device: that stays.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink()
        raise


def read_jsonl(path: Path) -> list[Any]:
    """Return one document per non-empty line of ``path``."""
    # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
    lines = read_text(path).split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one document per line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def check_is_text(path: Path) -> None:
    """Look at the beginning of a file that a person may have given.

    Raises:
        UserError: it cannot be read, or is plainly not a text in UTF-8.
    """
    try:
        with open_regular(path) as file:
            _check_size(path, os.fstat(file.fileno()).st_size)
            head = file.read(1024)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read: {error.strerror}") from None
    for beginning, what in NOT_TEXT.items():
        if head.startswith(beginning):
            raise UserError(f"{path}: it is {what}")
    if b"\0" in head:
        raise UserError(f"{path}: it is not a text in UTF-8")


def read_given_text(path: Path) -> str:
    """Return a text that a person may have given, without a byte order mark; lines end with LF.

    Raises:
        UserError: as `check_is_text`.
    """
    check_is_text(path)
    try:
        text = read_text(path, "utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: it is not a text in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: it cannot be read: {error.strerror}") from None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each non-empty line of a text file that a person may have written, after its place.

    Raises:
        UserError: as `check_is_text`.
    """
    # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
    lines = read_given_text(path).split("\n")
    return ((f"{path}:{n}", line) for n, line in enumerate(lines, start=1) if line.strip())


def read_rows(path: Path, kind: type[Typed]) -> list[tuple[str, Typed]]:
    """Return each non-empty line of JSON Lines as a ``kind``, after its place: ``file:line``.

    Args:
        path: A file that a person may have written.
        kind: A dataclass or pydantic model.

    Raises:
        UserError: places and fields of what is wrong, or why the file cannot be read.
    """
    from pydantic import ValidationError

    adapter = adapter_of(kind)  # type: ignore[arg-type]
    rows: list[tuple[str, Typed]] = []
    faults: list[str] = []
    for place, line in read_lines(path):
        try:
            rows.append((place, adapter.validate_json(line, strict=True)))
        except ValidationError as error:
            faults += [f"{place}: {fault}" for fault in problems(error)]
    refuse(path, faults)
    return rows


def problems(error: "ValidationError") -> list[str]:
    """Return what pydantic found, each with its field: ``instances[1].output: must not be blank``."""
    told = []
    for each in error.errors(include_url=False):
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"])
        field = "".join(parts).removeprefix(".")
        says = each["msg"][:1].lower() + each["msg"][1:]
        if each["type"] == "predicate_failed":
            says = "must not be blank"
        elif each["type"] != "missing":
            says = f"{says}, found {each['input']!r:.40}"
        told.append(f"{field}: {says}" if field else says)
    return told


def refuse(path: Path, faults: Sequence[str]) -> None:
    """Raise a UserError that tells the first of ``faults``, with how many there are, if any."""
    if faults:
        head = f"{path}: {len(faults)} faults in it, correct them and start again:"
        raise UserError("\n".join([head, *listed(faults)]))


def typed(path: Path, kind: type[Typed]) -> Typed:
    """Read a JSON document as a dataclass; keys that it does not have are left out.

    Raises:
        UserError: it cannot be read, or a field is not what it should be.
    """
    return validated(path, read_document(path), kind)


def read_document(path: Path) -> Any:
    """Return the JSON document in ``path``, whoever wrote it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return parse(read_given_text(path))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read: is damaged ({error})") from error


def parse(text: str) -> Any:
    """Return a JSON document of whatever origin, if it can be written again as UTF-8.

    Raises:
        ValueError: it is no JSON, has a key twice in an object, is nested too deeply, or holds half
            a surrogate pair.
    """
    try:
        document = json.loads(text, object_pairs_hook=without_repeats)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not is_nested_within(document, MOST_NESTED):
        raise ValueError("nested too deeply")
    if "\\ud" in text.lower():
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a surrogate pair") from None
    return document


def is_nested_within(document: Any, most: int) -> bool:
    """Whether JSON types are nested in at most so many levels."""
    level = [document]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return not level


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return what `json` found in an object; ValueError if a key is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.40} is there twice")
    return found


def validated(place: Path | str, document: Any, kind: type[Typed]) -> Typed:
    """Return ``document``, JSON that was read from ``place``, as what it should be.

    Raises:
        UserError: a field is not what it should be.
    """
    from pydantic import ValidationError

    try:
        found: Typed = adapter_of(kind).validate_python(document)  # type: ignore[arg-type]
    except ValidationError as error:
        raise UserError(f"{place}: {problems(error)[0]}") from None
    return found


@cache
def adapter_of(kind: Any) -> "TypeAdapter[Any]":
    """Return pydantic's reader of a type, made once: a sweep has many records, and it takes a while."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
