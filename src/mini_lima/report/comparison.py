"""The cells of a sweep side by side: rows are models, columns the baseline and the arms.

The comparison is made from what the cells left in their folders, so it can be made again at any
time, and a cell that failed or was killed stands in it as such. Cells that differ in their training
seed alone share an entry, which says how many of them it is about.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.measured import (
    BASELINE,
    LONGEST,
    Contrast,
    Found,
    LeftOut,
    PairedDifference,
    Together,
)
from mini_lima.record import CELL, CellRecord, Cost, Result, read_cell
from mini_lima.report.entries import entry, entry_of, judged_by_the_first
from mini_lima.report.figures import NOTHING, Cell, Table, Word, figure, interval
from mini_lima.report.groups import arms_of, groups_of, titles_of
from mini_lima.report.length_effect import sentences
from mini_lima.report.measures import Line, applying_nowhere, lines_of

CONTRASTS = (
    "Contrasts are paired by instruction and order; in brackets their bootstrap interval, wider"
    " by what several seeds show. By length alone: the same contrast if the longer answer always"
    " won. p: sign-flip test, seeds considered, corrected (Holm) for {families}. Could"
    " find: the smallest true difference that this design finds four times in five."
)
MOST_LEFT_OUT = 12
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
                f"{each.p_holm:.3f}" + ("" if alike else f" (of {each.family})"),
                figure(each.detectable),
                Word(each.verdict, {"better": "good", "worse": "bad"}.get(each.verdict)),
            ]
            for each in shown
        ]
        p = f"p (of {min(families)})" if alike else "p (of its family)"
        header = ["contrast", "measure", "difference", "by length alone", "without hits", p]
        return Table("Contrasts", [*header, "could find", "verdict"], rows).without_empty_columns()

    def contrast_words(self) -> list[str]:
        """The verdicts of the contrasts as sentences."""
        known = [each for each in self.contrasts if each.difference is not None]
        several = len({each.measure for each in known}) > 1
        return [
            f"{each.name}{f' ({each.measure})' if several else ''} – {each.words}"
            for each in known
            if tells(each)
        ]


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
    for path in sorted([*folder.glob(CELL), *folder.glob(f"*/{CELL}")]):
        try:
            found.append(read_cell(path))
        except UserError as error:
            passed_over.append(f"Passed over: {error}.")
    return sorted(found, key=_size), passed_over


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
    groups = groups_of(cells)
    titles = titles_of(groups)
    lines = lines_of(cells, together)
    known = {(each.row, each.arm, each.measure): each for each in together}
    for group in groups:
        title = titles[group.row]
        row = rows.setdefault(title, {})
        first = ""
        for cell in group.finished.values():
            if (result := cell.result) is not None:
                judged = judged_by_the_first(result, BASELINE)
                row[BASELINE] = entry(judged, result.health["baseline"])
                first = result.judges[0].measure if result.judges else ""
        row[group.arm] = entry_of(group, known.get((title, group.arm, first)))
    return Comparison(
        columns=[BASELINE, *arms_of(cells)],
        rows=rows,
        notes=[*_notes(cells, found), *_nowhere(lines), *notes],
        contrasts=found.contrasts,
        cells=list(cells),
        together=list(together),
        measures=lines,
        warnings=[
            f"{name}: {line}" for name, cost in _costs(cells).items() for line in cost.warnings
        ],
        left_out=found.left_out,
        about_length=sentences(found.contrasts, _only_length(_results(cells))),
    )


def _only_length(results: Sequence[Result]) -> set[str]:
    """The measures of judges that look at nothing but length."""
    return {judge.measure for each in results for judge in each.judges if judge.name == LONGEST}


def _nowhere(lines: Sequence[Line]) -> list[str]:
    names = applying_nowhere(lines)
    return [f"Metrics that apply to none of the instructions: {', '.join(names)}."] * bool(names)


def _results(cells: Sequence[CellRecord]) -> list[Result]:
    return [cell.result for cell in cells if cell.result is not None]


def _costs(cells: Sequence[CellRecord]) -> dict[str, Cost]:
    """By stage."""
    return {name: cost for cell in cells for name, cost in cell.costs.items()}


def _money(cells: Sequence[CellRecord]) -> list[str]:
    """What the answers behind the table cost, shared stages once."""
    costs = _costs(cells).values()
    replies = sum(cost.replies for cost in costs)
    if not replies:
        return []
    unpriced = sum(cost.unpriced for cost in costs)
    usd = sum(cost.usd for cost in costs)
    known = f"cost ${usd:.2f}" if unpriced < replies else "have no known cost"
    rest = f", not counting {unpriced} of unknown cost" if 0 < unpriced < replies else ""
    return [f"The {replies} replies of teacher and annotator behind this table {known}{rest}."]


def _size(cell: CellRecord) -> tuple[float, str]:
    return (cell.result.training.parameters if cell.result else float("inf"), cell.model)


def _health(results: Sequence[Result]) -> list[str]:
    """What is wrong with model outputs beyond their thresholds, a line for each that has faults."""
    lines = [
        f"Answers of {result.model}-{result.arm if which == 'sft' else BASELINE}:"
        f" {'; '.join(health.warnings)}."
        for result in results
        for which, health in result.health.items()
        if health.warnings
    ]
    return list(dict.fromkeys(lines))


def _about_seeds(cells: Sequence[CellRecord]) -> list[str]:
    """What the intervals say of other training seeds, and what they do not."""
    trained = {len(group.finished) for group in groups_of(cells)} - {0}
    notes = []
    if max(trained) > 1:
        notes.append(
            "Entries over several training seeds are the mean of their win rates; sd is the"
            " standard deviation between them, and the interval is about other instructions and"
            " other seeds. Two seeds have one difference, which is large or small by chance: take"
            " three or more."
        )
    if min(trained) == 1:
        which = (
            "Where a model was trained once" if len(trained) > 1 else "Each model was trained once"
        )
        notes.append(
            f"{which}: how much another training seed would change is not known and in none of its"
            " intervals; seed=1,2,3 shows it."
        )
    return notes


def _contamination(results: Sequence[Result]) -> list[str]:
    """How many evaluation instructions are in each arm's data."""
    by_arm = {r.arm: r.contamination for r in results if r.contamination is not None}
    if not by_arm:
        return []
    told = ", ".join(
        f"{arm} {len(found.instructions_hit)} of {found.instructions}"
        for arm, found in by_arm.items()
        if found.hits
    )
    clean = [arm for arm, found in by_arm.items() if not found.hits]
    if clean:
        told = "; ".join(filter(None, [told, f"none of {', '.join(clean)}" if told else "none"]))
    line = f"Evaluation instructions that are, or nearly are, in the training data: {told}."
    if any(found.hits for found in by_arm.values()):
        line += " Contrasts that such an arm is in are made again without them: without hits."
    return [line]


def _left_out(found: Found) -> list[str]:
    """Contrasts that could not be made, together where the reason is the same."""
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in found.left_out:
        names[each.name, each.reason].append(each.measure)
    lines = [
        f"Not made: {name} ({', '.join(measures)}): {reason}."
        for (name, reason), measures in names.items()
    ]
    if len(lines) > MOST_LEFT_OUT:
        more = len(lines) - MOST_LEFT_OUT
        return [*lines[:MOST_LEFT_OUT], f"… and {more} more contrasts were not made: report.json."]
    return lines


def _families(contrasts: Sequence[Contrast]) -> str:
    sizes = list(dict.fromkeys(each.family for each in contrasts))
    if len(sizes) == 1:
        return f"the {sizes[0]} contrasts of a measure"
    return "the contrasts of its measure, whose number stands beside it"


def _notes(cells: Sequence[CellRecord], found: Found) -> list[str]:
    results = _results(cells)
    if not results:
        return []
    judges = sorted({result.judges[0].name for result in results if result.judges})
    references = sorted({result.judges[0].sft.reference for result in results if result.judges})
    confidence = " and ".join(f"{c:.0%}" for c in sorted({r.confidence for r in results}))
    notes = [
        f"Win rate in percent against {', '.join(references)}, judged by {', '.join(judges)};"
        f" in brackets the {confidence} bootstrap interval over the instructions."
        " n: verdicts, in both orders of the outputs unless annotator.orders says otherwise."
        if judges
        else f"Nobody judges; in brackets the {confidence} bootstrap interval over the"
        " instructions.",
        "Δ is the difference to the model's baseline, paired by instruction. cut: answers that"
        " ran into the length limit. failed: verdicts that could not be read. chars: mean length.",
    ]
    notes += _money(cells)
    notes += _health(results)
    notes += _contamination(results)
    notes += [
        f"{cell.folder} is not in Weights & Biases: {cell.not_tracked}"
        for cell in cells
        if cell.not_tracked is not None
    ]
    notes += _about_seeds(cells)
    if any(cell.config["model"]["weights"] == "random" for cell in cells if cell.result):
        notes.append(
            "The embedded models start from random weights: these numbers prove that the"
            " machinery works and say nothing about Qwen or about the arms."
        )
    if found.contrasts:
        notes.append(CONTRASTS.format(families=_families(found.contrasts)))
    return notes + _left_out(found)
