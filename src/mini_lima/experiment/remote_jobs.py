"""Cells that run in other processes, as the one that sent them there sees them.

How a cell ended is in its record, which its own process writes. One that was killed, or never got
as far as to begin, cannot: then the record is completed here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.experiment.cell import stages_before
from mini_lima.files import look_again
from mini_lima.results import CELL, CellRecord, read_cell, write_cell


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
    begun: CellRecord
    before: CellRecord

    def ended(self, reason: str, log: Path) -> CellRecord:
        """Return how the cell ended, now that its process has.

        Args:
            reason: What became of the process, should the record not say it.
            log: Where its output went, if it began.
        """
        record = _read(self.folder)
        if record == self.before:
            # The stages that the cell needs are still those: unnamed, they would count as unused.
            record = replace(self.begun, stages=self.before.stages)
        if record.status == "unfinished":
            output = str(log) if log.exists() else record.log
            record = replace(record, status="killed", reason=reason, log=output)
            write_cell(self.folder / CELL, record)
        return record


def expect(folder: Path, begun: CellRecord) -> Awaited:
    """Await a cell in ``folder``; from now on it has a record, so that a comparison knows of it."""
    try:
        before = _read(folder)
    except UserError:  # there is none, or one that another version wrote
        folder.mkdir(parents=True, exist_ok=True)
        write_cell(folder / CELL, replace(begun, stages=stages_before(folder)))
        before = _read(folder)
    return Awaited(folder, begun, before)


def _read(folder: Path) -> CellRecord:
    if folder.is_dir():
        look_again(folder)
    return read_cell(folder / CELL)
