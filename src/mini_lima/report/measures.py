"""All measures side by side: one row per number, with its interval and its difference to baseline.

The table of the study shows one judge's win rate; whatever else was measured of the same answers
stands here, in the same terms. A place with several training seeds has a row for each and one for
what they come to together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mini_lima.report.figures import MEASURE, Table, with_interval
from mini_lima.report.groups import arms_of, groups_of, labelled
from mini_lima.results import BASELINE, CellRecord, Measurement, PairedDifference, Together

COLUMNS = (
    *("model", "arm", "seed", "measure", "unit", "value", "low", "high", "n", "failed"),
    *("difference", "difference_low", "difference_high"),
)
"""Of the rows as values."""


@dataclass(frozen=True)
class Line:
    """A number in its place.

    Attributes:
        row: Title of its row.
        measured: The number; its ``seed`` is None where it stands for all seeds of the place.
        difference: To the baseline; None of the baseline itself.
        first: Whether it is the first judge's, which has a table of its own.
        one_of: Of how many seeds it is one; 1 where it stands for all there are.
    """

    row: str
    measured: Measurement
    difference: PairedDifference | None
    first: bool
    one_of: int = 1

    @property
    def arm(self) -> str:
        """The column, with the seed where it is one of several."""
        return labelled(self.measured.arm, self.measured.seed if self.one_of > 1 else None)

    def values(self) -> list[object]:
        """What is in `COLUMNS`."""
        own, d = self.measured, self.difference
        told = [self.row, self.arm, own.seed, own.measure, own.unit, own.value, own.low, own.high]
        told += [own.n, own.failed]
        return [*told, *([d.difference, d.low, d.high] if d else [None, None, None])]


def lines_of(cells: Sequence[CellRecord], together: Sequence[Together]) -> list[Line]:
    """Return every number of ``cells``, by measure, row and arm."""
    known = {(each.row, each.arm, each.measure): each for each in together}
    groups = groups_of(cells)
    lines: dict[tuple[object, ...], Line] = {}
    for group in groups:
        for result in group.results:
            first = result.judges[0].measure if result.judges else None
            for own in result.measurements:
                tuned = own.arm != BASELINE
                line = Line(
                    row=group.title,
                    measured=own,
                    difference=result.differences[own.measure] if tuned else None,
                    first=own.measure == first,
                    one_of=len(group.results) if tuned else 1,
                )
                place = line.row, own.arm, own.measure
                lines.setdefault((*place, own.seed if tuned else None), line)
                if line.one_of > 1 and place in known:
                    lines.setdefault(place, _together(line, known[place]))
    measures = list(dict.fromkeys(line.measured.measure for line in lines.values()))
    rows, arms = list(dict.fromkeys(group.title for group in groups)), [BASELINE, *arms_of(cells)]

    def order(line: Line) -> tuple[int, int, int, bool]:
        own = line.measured
        return (
            *(measures.index(own.measure), rows.index(line.row), arms.index(own.arm)),
            line.one_of == 1,  # what seeds come to stands below them
        )

    return sorted(lines.values(), key=order)


def _together(line: Line, whole: Together) -> Line:
    over = whole.over
    own = replace(line.measured, seed=None, value=over.value, n=over.n, failed=over.failed)
    own = replace(own, low=over.low, high=over.high)
    return replace(line, measured=own, difference=whole.difference, one_of=1)


def applying_nowhere(lines: Sequence[Line]) -> list[str]:
    """Return the measures that apply to none of the instructions, such as checks without any."""
    apply = {x.measured.measure for x in lines if x.measured.n or x.measured.failed}
    return [name for name in dict.fromkeys(x.measured.measure for x in lines) if name not in apply]


def others(lines: Sequence[Line]) -> list[Line]:
    """Return what the table of the first judge's win rates does not show; seeds together."""
    nowhere = applying_nowhere(lines)
    shown = [x for x in lines if not x.first and x.measured.measure not in nowhere]
    whole = {(x.row, x.measured.arm, x.measured.measure) for x in shown if x.one_of == 1}
    return [
        x
        for x in shown
        if x.one_of == 1 or (x.row, x.measured.arm, x.measured.measure) not in whole
    ]


def table(lines: Sequence[Line], columns: Sequence[str]) -> Table:
    """Return ``lines`` for people, with the arms beside one another."""
    rows: dict[tuple[str, str], dict[str, list[str]]] = {}
    for line in lines:
        own, found = line.measured, line.difference
        cell = rows.setdefault((_titled(own), line.row), {}).setdefault(own.arm, [])
        seed = f"seed {own.seed}: " if line.one_of > 1 else ""
        cell += [
            seed + with_interval(own.value, own.low, own.high),
            f"n {own.n}, {own.failed} failed",
        ]
        if found is not None:
            cell.append(f"Δ {with_interval(found.difference, found.low, found.high, '+')}")
    told = [[*names, *(row.get(column, []) for column in columns)] for names, row in rows.items()]
    return Table("Other measures", [MEASURE, "model", *columns], told)


def _titled(measured: Measurement) -> str:
    """What was measured, with its unit unless that says it already."""
    if measured.measure == measured.unit:
        return measured.measure
    return f"{measured.measure}, {'%' if measured.unit == 'percent' else measured.unit}"
