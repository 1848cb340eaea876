"""JSON and JSON Lines as the whole house writes them: UTF-8, no ASCII escapes."""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mini_lima.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def read_json(path: Path) -> Any:
    """Return the document in ``path``."""
    return json.loads(path.read_text(encoding="utf-8"))


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
    """Write ``text`` through a temporary file in the same folder and an atomic rename."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_jsonl(path: Path) -> list[Any]:
    """Return one document per non-empty line of ``path``."""
    # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one document per line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


Typed = TypeVar("Typed")


def typed(path: Path, kind: type[Typed]) -> Typed:
    """Read a JSON document as a dataclass; keys that it does not have are left out.

    Raises:
        UserError: it cannot be read, or a field is not what it should be.
    """
    return validated(path, read_document(path), kind)


def read_document(path: Path) -> Any:
    """Return the JSON document in ``path``.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return read_json(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is damaged ({error})"
        raise UserError(f"{path}: cannot be read: {reason}") from error


def validated(place: Path | str, document: Any, kind: type[Typed]) -> Typed:
    """Return ``document``, JSON that was read from ``place``, as what it should be.

    Raises:
        UserError: a field is not what it should be.
    """
    from pydantic import ValidationError

    try:
        found: Typed = _adapter(kind).validate_python(document)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        shown = "" if first["type"] == "missing" else f", found {first['input']!r:.60}"
        said = first["msg"][:1].lower() + first["msg"][1:]
        raise UserError(f"{place}: {where}: {said}{shown}") from None
    return found


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    """Made once for each kind: a sweep has many records, and to make one takes a while."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
