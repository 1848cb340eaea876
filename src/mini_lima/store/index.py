"""What is in a store, who uses it, what it cost, and what nobody refers to any more.

A cell registers its folder with the store before it builds anything, and its record there names the
stages that it needs, finished or not. A stage is in use if such a record, in a folder that still
exists, names it, or if a stage in use was made from it. To let go of an experiment is to delete its
folder; `prune` then removes what nothing else needs. Nobody registers while that happens: a cell
that comes before it is seen, and one that comes after it finds out what is there no more.

    store/.cells/<name>     a file for each cell: the path of its folder
    store/.cells.lock       held to register, and to find out what is unused and take it away
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_document, read_text, write_text
from mini_lima.store.contents import STAGE
from mini_lima.store.lock import locked, locked_if_free

CELLS = ".cells"
PARTIAL, WORK = ".partial", ".work"
IS_STAGE = re.compile(r"[^.].*-[0-9a-f]{12}")


def register(store: Path, folder: Path) -> None:
    """Let ``store`` know that a cell in ``folder`` uses it.

    Raises:
        UserError: nothing can be written there.
    """
    path = str(folder.resolve())
    try:
        with nobody_registers(store):
            (store / CELLS).mkdir(exist_ok=True)
            write_text(store / CELLS / _entry_of(path), path)
    except (OSError, UserError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"store={store}: nothing can be written there ({reason}); make room, or name another"
            " folder"
        ) from error


def _entry_of(path: str) -> str:
    """The name of the entry that leads to the cell in the folder ``path``."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


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


@dataclass(frozen=True)
class Inventory:
    """What is in a store.

    Attributes:
        items: The finished stages with who uses them, by kind and name.
        passed_over: A line for each stage and cell that cannot be read.
        unknown_users: Those of the lines that are about cells: what they use is not known.
    """

    items: list[Item]
    passed_over: list[str]
    unknown_users: list[str]


def take(store: Path) -> Inventory:
    """Look through ``store``; what cannot be read is passed over.

    Raises:
        UserError: there is no such store, or it cannot be read.
    """
    if not store.is_dir():
        raise UserError(f"{store}: there is no store; name it with --store")
    items, passed_over = {}, []
    for folder in _stage_folders(store):
        try:
            item = Item(folder, _record(folder / STAGE))
            items[item.fingerprint] = item
        except UserError as error:
            passed_over.append(str(error))
    cells, unknown = _cells(store)
    for cell, folders in sorted(cells.items()):
        for item in _with_inputs([folder.rpartition("-")[2] for folder in folders], items):
            item.users.append(cell)
    return Inventory(list(items.values()), [*passed_over, *unknown], unknown)


def _stage_folders(store: Path) -> list[Path]:
    """All that is called as finished stages are, by kind and name."""
    try:
        kinds = [path for path in sorted(store.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{store} cannot be read: {error.strerror}") from error
    found: list[Path] = []
    for kind in kinds:
        with contextlib.suppress(OSError):  # no folder, or one of somebody else's
            found += sorted(path for path in kind.iterdir() if IS_STAGE.fullmatch(path.name))
    return found


def _record(path: Path) -> dict[str, Any]:
    """Read a ``stage.json``; raise UserError if it cannot be read, or is none."""
    match record := read_document(path):
        case {
            "identity": {
                "name": str(),
                "fingerprint": str(),
                "params": dict(),
                "inputs": dict() as inputs,
                "files": dict(),
            },
            "provenance": {"seconds": int() | float()},
        } if all(isinstance(each, str) for each in inputs.values()):
            assert isinstance(record, dict)
            return record
    raise UserError(f"{path}: is not the record of a stage")


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
    cells, _ = _cells(store)
    needed = {folder.rpartition("-")[2] for folders in cells.values() for folder in folders}
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
        if free and path.is_symlink():
            path.unlink()
        elif free:
            shutil.rmtree(path)


def _free(folder: Path, key: str) -> AbstractContextManager[bool]:
    """Hold the lock of the stage ``key`` in ``folder``, if nobody else does."""
    return locked_if_free(folder / ".locks" / f"{key}.lock")


def size_of(path: Path) -> int:
    """Bytes of the files below ``path``, as far as it can be read."""
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
    return size


def _cells(store: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The folders of the stages of each cell that registered and still exists, by its own.

    And a line for each of which that cannot be known.
    """
    cells: dict[str, list[str]] = {}
    unknown: list[str] = []
    for entry in sorted(store.glob(f"{CELLS}/[!.]*")):
        try:
            path = read_text(entry)
            if entry.name != _entry_of(path):
                raise ValueError("it is damaged")
            record = Path(path, "cell.json")
            record.lstat()
            cells[str(record.parent)] = list(stages_in(record).values())
        except (FileNotFoundError, NotADirectoryError):
            continue  # the cell was deleted
        except OSError as error:
            unknown.append(f"{error.filename or entry}: cannot be read: {error.strerror}")
        except ValueError:
            unknown.append(f"{entry}: is damaged, and leads to no cell")
        except UserError as error:
            unknown.append(str(error))
    return cells, unknown


def stages_in(record: Path) -> dict[str, str]:
    """Return the folders of the stages that the record of a cell names, by their names.

    Whatever version wrote it.

    Raises:
        UserError: it cannot be read, or is none.
    """
    match read_document(record):
        case {"stages": {**stages}} if all(isinstance(each, str) for each in stages.values()):
            return {str(name): str(folder) for name, folder in stages.items()}
        case {**others} if "stages" not in others:
            return {}
    raise UserError(f"{record}: is not the record of a cell")


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
