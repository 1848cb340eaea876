"""Cells that run in other processes, as the one that sent them there sees them.

How a cell ended is in its record, which its own process writes. One that was killed, or never got
as far as to begin, cannot: then the record is completed here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.cell import RECORD
from mini_lima.files import look_again, read_json, write_json


@dataclass(frozen=True)
class Awaited:
    """A cell that was sent elsewhere.

    Attributes:
        folder: The cell's.
        begun: The record of a cell that has begun and not ended.
        before: The record that was there when the cell was sent: perhaps an earlier run's, and what
            is still there if the cell does not begin.
    """

    folder: Path
    begun: dict[str, Any]
    before: dict[str, Any]

    def ended(self, reason: str, log: Path) -> dict[str, Any]:
        """Return how the cell ended, now that its process has.

        Args:
            reason: What became of the process, should the record not say it.
            log: Where its output went, if it began.
        """
        record = _read(self.folder)
        if record == self.before:
            # The stages that the cell needs are still those: unnamed, they would count as unused.
            record = {**self.begun, "stages": self.before.get("stages", {})}
        if record["status"] == "unfinished":
            where = {"log": str(log)} if log.exists() else {}
            record |= {"status": "killed", "reason": reason, **where}
            write_json(self.folder / RECORD, record)
        return record


def expect(folder: Path, begun: dict[str, Any]) -> Awaited:
    """Await a cell in ``folder``; from now on it has a record, so that a comparison knows of it."""
    if not (folder / RECORD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, begun)
    return Awaited(folder, begun, _read(folder))


def _read(folder: Path) -> dict[str, Any]:
    look_again(folder)
    record: dict[str, Any] = read_json(folder / RECORD)
    return record
