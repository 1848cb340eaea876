"""JSON and JSON Lines as the whole house writes them: UTF-8, no ASCII escapes."""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


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
    """Write ``text`` as `replaced` does."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a new file beside ``path`` that takes its place, in one step, when the block ends well."""
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
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one document per line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
