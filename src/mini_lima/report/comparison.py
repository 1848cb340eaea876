"""The cells of a sweep side by side: rows are models, columns the baseline and the arms.

The comparison is made from what the cells left in their folders, so it can be made again at any
time, and a cell that failed or was killed stands in it as such. Cells that differ in their training
seed alone share an entry, which says how many of them it is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mini_lima.errors import UserError, listed
from mini_lima.report import measures
from mini_lima.report.entries import entry, entry_of, judged_by_the_first
from mini_lima.report.figures import MEASURE, NOTHING, Cell, Table, Word, figure, interval
from mini_lima.report.groups import arms_of, groups_of
from mini_lima.report.length_effect import sentences
from mini_lima.report.measures import Line, applying_nowhere, lines_of
from mini_lima.report.notes import costs_of, notes_of
from mini_lima.results import (
    BASELINE,
    CELL,
    LONGEST,
    CellRecord,
    Contrast,
    Found,
    LeftOut,
    PairedDifference,
    Together,
    read_cell,
)

NOT_RUN = ("not run",)


@dataclass(frozen=True)
class Comparison:
    """A table of texts with the results behind it.

    Attributes:
        columns: ``baseline`` and the arms.
        rows: Per model (and whatever else differs), the lines of each column's entry.
        notes: What has to be known to read the table.
        warnings: What may be wrong with it.
        contrasts: Differences between the cells, in every measure.
        cells: The records that it was made from.
        together: What the seeds of an entry come to, where it stands for several.
        measures: Every number that was measured.
        left_out: Contrasts that were asked for and cannot be made.
        about_length: What of the effect is length, where the contrasts tell.
    """

    columns: list[str]
    rows: dict[str, dict[str, list[str]]]
    notes: list[str]
    contrasts: list[Contrast]
    cells: list[CellRecord]
    together: list[Together] = field(default_factory=list)
    measures: list[Line] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    about_length: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[CellRecord]:
        """The cells that have a result."""
        return [cell for cell in self.cells if cell.result is not None]

    @property
    def said(self) -> list[str]:
        """What stands below the tables."""
        return [*self.about_length, *self.notes, *(f"Warning: {line}." for line in self.warnings)]

    def win_rates(self) -> Table:
        """The study's table."""
        rows: list[list[Cell]] = [
            [name, *(row.get(column, NOT_RUN) for column in self.columns)]
            for name, row in self.rows.items()
        ]
        return Table("Win rates", ["model", *self.columns], rows)

    def other_measures(self) -> Table:
        """What else was measured of the same answers."""
        return measures.table(measures.others(self.measures), self.columns)

    def contrast_table(self, *, short: bool = False) -> Table:
        """The contrasts, without a column that would say nothing.

        Args:
            short: Of metrics, only those that tell a difference.
        """
        shown = [each for each in self.contrasts if not short or tells(each)]
        several = len({each.measure for each in shown}) > 1
        families = {each.family for each in shown}
        alike = len(families) == 1
        rows: list[list[Cell]] = [
            [
                each.name,
                each.measure if several else NOTHING,
                _told(each) + ("" if each.unit in ("points", each.measure) else f" {each.unit}"),
                _told(each.by_length),
                _told(each.without_hits),
                f"{each.p_holm:.2g}" + ("" if alike else f" (of {each.family})"),
                figure(each.detectable),
                Word(each.verdict, {"better": "good", "worse": "bad"}.get(each.verdict)),
            ]
            for each in shown
        ]
        p = f"p (of {min(families)})" if alike else "p (of its family)"
        header = ["contrast", MEASURE, "difference", "by length alone", "without hits", p]
        return Table("Contrasts", [*header, "could find", "verdict"], rows).without_empty_columns()


def tells(contrast: Contrast) -> bool:
    """Whether ``contrast`` is worth a line of its own: a judge's always, a metric's if it tells."""
    return contrast.judged or contrast.verdict != "cannot tell"


def _told(found: Contrast | PairedDifference | None) -> str:
    if found is None:
        return NOTHING
    ends = interval(found.low, found.high, "+", always=True)
    return f"{figure(found.difference, sign='+')} {ends}"


def read_cells(folder: Path) -> tuple[list[CellRecord], list[str]]:
    """Return the records of all cells in ``folder``, a cell or a sweep; small models first.

    Returns:
        The records, and a line for each that cannot be read.
    """
    found, passed_over = [], []
    try:
        below = sorted(folder.iterdir())
    except NotADirectoryError:
        below = []
    for path in [folder / CELL, *(each / CELL for each in below)]:
        try:
            path.lstat()
            found.append(read_cell(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UserError) as error:
            passed_over.append(str(error))
    return sorted(found, key=_size), [f"Passed over: {each}." for each in listed(passed_over)]


def compare(
    cells: Sequence[CellRecord],
    found: Found | None = None,
    together: Sequence[Together] = (),
    notes: Sequence[str] = (),
) -> Comparison:
    """Lay out ``cells`` as the study's table, with the contrasts between them.

    Args:
        cells: Their records.
        found: The contrasts between them, and those that cannot be made.
        together: What the cells that differ in their seed alone come to.
        notes: What else is to be said below the table.
    """
    found = found or Found()
    cells = sorted(cells, key=_size)
    rows: dict[str, dict[str, list[str]]] = {}
    lines = lines_of(cells, together)
    known = {(each.row, each.arm, each.measure): each for each in together}
    for group in groups_of(cells):
        row = rows.setdefault(group.title, {})
        first = ""
        for result in group.results:
            row[BASELINE] = entry(judged_by_the_first(result, BASELINE), result.health["baseline"])
            first = result.judges[0].measure if result.judges else ""
        row[group.arm] = entry_of(group, known.get((group.title, group.arm, first)))
    if names := applying_nowhere(lines):
        notes = [f"Metrics that apply to none of the instructions: {', '.join(names)}.", *notes]
    judges = [judge for cell in cells if cell.result for judge in cell.result.judges]
    only_length = {judge.measure for judge in judges if judge.name == LONGEST}
    return Comparison(
        columns=[BASELINE, *arms_of(cells)],
        rows=rows,
        notes=[*notes_of(cells, found), *notes],
        contrasts=found.contrasts,
        cells=list(cells),
        together=list(together),
        measures=lines,
        warnings=[
            f"{name}: {line}" for name, cost in costs_of(cells).items() for line in cost.warnings
        ],
        left_out=found.left_out,
        about_length=sentences(found.contrasts, only_length),
    )


def _size(cell: CellRecord) -> tuple[float, str]:
    return (cell.result.training.parameters if cell.result else float("inf"), cell.model)
