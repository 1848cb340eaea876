"""What is in a store, who uses it, what it cost, and what nobody refers to any more.

A cell registers its folder with the store before it builds anything, and its record there names the
stages that it needs, finished or not. A stage is in use if such a record, in a folder that still
exists, names it, or if a stage in use was made from it. To let go of an experiment is to delete its
folder; `prune` then removes what nothing else needs. Nobody registers while that happens: a cell
that comes before it is seen, and one that comes after it finds out what is there no more.

    store/.cells/<name>     a file for each cell: the path of its folder
    store/.cells.lock       held to register, and to find out what is unused and take it away
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_json, write_text
from mini_lima.store.lock import locked, locked_if_free

CELLS = ".cells"
PARTIAL, WORK = ".partial", ".work"


def register(store: Path, folder: Path) -> None:
    """Let ``store`` know that a cell in ``folder`` uses it.

    Raises:
        UserError: nothing can be written there.
    """
    path = str(folder.resolve())
    try:
        with nobody_registers(store):
            (store / CELLS).mkdir(exist_ok=True)
            write_text(store / CELLS / hashlib.sha256(path.encode()).hexdigest()[:16], path)
    except (OSError, UserError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"store={store}: nothing can be written there ({reason}); make room, or name another"
            " folder"
        ) from error


def nobody_registers(store: Path) -> AbstractContextManager[None]:
    """Keep for the block what `take` says about who uses what in ``store``."""
    return locked(store / f"{CELLS}.lock", "the list of cells")


@dataclass(frozen=True)
class Item:
    """A finished stage as it lies in the store."""

    folder: Path
    record: dict[str, Any]
    users: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its kind, and the directory."""
        return f"{self.folder.parent.name} {self.folder.name}"

    @property
    def fingerprint(self) -> str:
        """Its identity."""
        return str(self.record["identity"]["fingerprint"])

    @cached_property
    def size(self) -> int:
        """Bytes on the disk."""
        return size_of(self.folder)

    @property
    def seconds(self) -> float:
        """How long it took to make."""
        return float(self.record["provenance"]["seconds"])


def take(store: Path) -> list[Item]:
    """Return the finished stages in ``store`` with who uses them, by kind and name.

    Raises:
        UserError: there is no such store.
    """
    if not store.is_dir():
        raise UserError(f"{store}: there is no store; name it with --store")
    items = {}
    for path in sorted(store.glob("[!.]*/[!.]*/stage.json")):
        item = Item(path.parent, read_json(path))
        items[item.fingerprint] = item
    for cell, folders in sorted(_cells(store)):
        for item in _with_inputs([folder.rpartition("-")[2] for folder in folders], items):
            item.users.append(cell)
    return list(items.values())


def find(items: Iterable[Item], name: str) -> Item:
    """Return the one stage whose directory or fingerprint begins or ends with ``name``.

    Raises:
        UserError: none or several do.
    """
    found = [
        item for item in items if name in item.folder.name or item.fingerprint.startswith(name)
    ]
    if len(found) != 1:
        which = "; ".join(item.name for item in found[:5]) or "mini-lima store list shows all"
        raise UserError(f"{name}: {len(found) or 'no'} stages are called that: {which}")
    return found[0]


def take_away(item: Item) -> Path | None:
    """Let a stage disappear whole; the caller holds `nobody_registers` since it was unused.

    Returns:
        Where its files still are, for `clear`; None, and all is left, if somebody is at it.
    """
    with _free(item.folder.parent, item.fingerprint[:12]) as free:
        if not free:
            return None
        gone = item.folder.parent / PARTIAL / f"gone-{secrets.token_hex(4)}"
        gone.parent.mkdir(exist_ok=True)
        os.rename(item.folder, gone)
    return gone


def left_behind(store: Path) -> list[Path]:
    """What attempts that were killed left, nobody is working on now, and no cell goes on from."""
    needed = {folder.rpartition("-")[2] for _, folders in _cells(store) for folder in folders}
    found = []
    for path in sorted(each for kind in (PARTIAL, WORK) for each in store.glob(f"*/{kind}/*")):
        folder, key = path.parents[1], path.name.partition("-")[0]
        finished = any(folder.glob(f"*-{key}"))
        with _free(folder, key) as free:
            if free and (path.parent.name == PARTIAL or finished or key not in needed):
                found.append(path)
    return found


def clear(path: Path) -> None:
    """Remove what was taken away or left behind, unless somebody has taken it up again."""
    with _free(path.parents[1], path.name.partition("-")[0]) as free:
        if free:
            shutil.rmtree(path)


def _free(folder: Path, key: str) -> AbstractContextManager[bool]:
    """Hold the lock of the stage ``key`` in ``folder``, if nobody else does."""
    return locked_if_free(folder / ".locks" / f"{key}.lock")


def size_of(path: Path) -> int:
    """Bytes of the files below ``path``."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _cells(store: Path) -> Iterator[tuple[str, list[str]]]:
    """The cells that registered and still exist, with the folders of their stages."""
    for entry in sorted(store.glob(f"{CELLS}/*")):
        record = Path(entry.read_text(encoding="utf-8"), "cell.json")
        if record.is_file():
            yield str(record.parent), list(read_json(record).get("stages", {}).values())


def _with_inputs(keys: Sequence[str], items: Mapping[str, Item]) -> Iterator[Item]:
    """The finished stages whose fingerprints begin with ``keys``, and all they were made from."""
    to_do = [each for each in items if any(each.startswith(key) for key in keys)]
    seen: set[str] = set()
    while to_do:
        fingerprint = to_do.pop()
        if fingerprint in items and fingerprint not in seen:
            seen.add(fingerprint)
            yield items[fingerprint]
            to_do += items[fingerprint].record["identity"]["inputs"].values()
