"""What the cells of a sweep say together: the table, the contrasts between its cells, the page.

Made from what the cells left in their folders and in the store, so it can be made again at any
time, and over several sweeps at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.errors import UserError
from mini_lima.evaluation import declared_contrasts
from mini_lima.experiment.measured_cells import measures_of, with_distinct_judges
from mini_lima.experiment.recipe import one_step_apart
from mini_lima.report import comparison, comparison_run, table
from mini_lima.report.comparison import Comparison
from mini_lima.report.groups import Group, arms_of, groups_of
from mini_lima.results import (
    BASELINE,
    CellRecord,
    Contrast,
    Found,
    LeftOut,
    PairedDifference,
    Together,
)
from mini_lima.text import say

if TYPE_CHECKING:
    from mini_lima.evaluation.contrasts import Measure
    from mini_lima.statistics import Drawn


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare all cells in ``folders``, each a cell or the folder of a sweep.

    Raises:
        UserError: a folder is not there, or there is no cell in any of them that can be read.
    """
    if absent := [str(folder) for folder in folders if not folder.exists()]:
        raise UserError(f"{', '.join(absent)}: no such folder")
    cells, notes = [], []
    for folder in folders:
        read, passed_over = comparison.read_cells(folder)
        cells += read
        notes += passed_over
    if not cells:
        raise UserError(
            "; ".join(note.rstrip(".") for note in notes)
            or f"{', '.join(map(str, folders))}: no cell has been started there"
        )
    cells = with_distinct_judges(cells)
    measures, damaged = measures_of(cells)
    notes += damaged
    if len(notes) > 1:
        notes.append(f"Passed over in all: {len(notes)}.")
    asked, unknown = _declared(cells)
    found = contrasts(cells, measures, asked)
    against = contrasts(cells, measures) if asked else found
    together = over_seeds(cells, measures, against.contrasts)
    return comparison.compare(cells, found, together, [*unknown, *notes])


def summarise(folders: Sequence[Path], into: Path, *, track: bool = True) -> None:
    """Print the comparison of the cells in ``folders`` and write its report ``into`` a folder.

    With ``track`` it is in Weights & Biases too, if the cells are.

    Raises:
        UserError: see `compare`; or there can be no such folder ``into``.
    """
    from mini_lima.report import page

    found = compare(folders)
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{into}: no folder for the report can be made: {error.strerror}"
        ) from error
    table.write_report(into, found)
    page.write_page(into, found)
    table.show(found)
    say(f"{into / 'report.md'}\n{into / 'report.html'}")
    if track and (said := comparison_run.track(found, into)):
        say(said)


def finish(folder: Path, *, elsewhere: bool = False) -> int:
    """Summarise what has just been run into ``folder``; return its exit code.

    The code is the highest of the cells', as their records say: wherever a cell ran, and whatever
    ended it, its record is here. Without a summary if no cell got as far as to begin its work:
    then this process has logged why, unless the cells ran ``elsewhere``.
    """
    cells, _ = comparison.read_cells(folder)
    codes = [0 if cell.status == "finished" else cell.exit_code for cell in cells]
    if min(codes, default=2) < 2 or (codes and elsewhere):
        summarise([folder], into=folder)
    return max(codes, default=0)


def _declared(cells: Sequence[CellRecord]) -> tuple[list[declared_contrasts.Declared], list[str]]:
    """The contrasts that the cells declare, and what these name that is not there."""
    texts = list(dict.fromkeys(text for c in cells for text in c.config.get("contrasts") or ()))
    unknown = declared_contrasts.unknown(texts, arms_of(cells))
    return [declared_contrasts.parse(text) for text in texts], [
        f"Not made: {line}." for line in unknown
    ]


def contrasts(
    cells: Sequence[CellRecord],
    measures: "Sequence[Measure]",
    asked: Sequence[declared_contrasts.Declared] = (),
) -> Found:
    """The contrasts between finished cells, in every measure."""
    from mini_lima.evaluation import contrasts as compared

    groups = [group for group in groups_of(cells) if group.finished]
    results = [c.result for g in groups for c in g.finished.values() if c.result is not None]
    if not results or not measures:
        return Found()
    there = {cell for measure in measures for cell in measure.cells}
    arms = [BASELINE, *arms_of(cells)]
    places = [
        (row, arm)
        for row in dict.fromkeys(group.row for group in groups)
        for arm in arms
        if (row, arm) in there
    ]
    hits: dict[str, set[str]] = defaultdict(set)
    for result in results:
        if result.contamination is not None:
            hits[result.arm] |= result.contamination.instructions_hit
    first = results[0]
    found = compared.contrasts(
        measures,
        compared.questions(places, pairs_of(groups, arms), asked),
        seed=first.seed,
        confidence=first.confidence,
        samples=first.bootstrap_samples,
        hits=hits,
    )
    return replace(found, left_out=[*found.left_out, *_split(groups, arms)])


def pairs_of(groups: Sequence[Group], arms: Sequence[str]) -> list[tuple[str, str]]:
    """Arms that differ in one step: the one with a step more first, or the later one."""
    pairs = []
    for one, other in combinations(arms, 2):
        for row in dict.fromkeys(group.row for group in groups):
            steps = [
                cell.steps
                for arm in (one, other)
                for group in groups
                if (group.row, group.arm) == (row, arm)
                for cell in [*group.finished.values()][:1]
                if cell.steps
            ]
            if len(steps) == 2 and one_step_apart(*steps):
                earlier_is_longer = len(steps[0]) > len(steps[1])
                pairs.append((one, other) if earlier_is_longer else (other, one))
                break
    return pairs


def _split(groups: Sequence[Group], arms: Sequence[str]) -> Iterator[LeftOut]:
    """Yield the arms of one model that stand in different rows, for settings that differ."""
    by_model: dict[str, dict[str, list[Group]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        model = next(iter(group.finished.values())).model
        by_model[model][group.arm].append(group)
    for model, of in by_model.items():
        for one, other in combinations([arm for arm in arms if arm in of], 2):
            rows = [{group.row for group in of[arm]} for arm in (one, other)]
            if not rows[0] & rows[1]:
                told = _differing(of[one][0], of[other][0])
                reason = f"they stand in different rows ({told})"
                yield LeftOut(f"{model}: {other} − {one}", "every measure", reason)


def _differing(one: Group, other: Group) -> str:
    """What two cells were made under, where it is not the same."""
    recipes = [next(iter(each.finished.values())).recipe or {} for each in (one, other)]
    told = [
        f"{key}: {recipes[0].get(key)} and {recipes[1].get(key)}"
        for key in dict.fromkeys([*recipes[0], *recipes[1]])
        if recipes[0].get(key) != recipes[1].get(key)
    ]
    return "; ".join(told[:4]) or f"{one.row} and {other.row}"


def over_seeds(
    cells: Sequence[CellRecord], measures: "Sequence[Measure]", contrasts: Sequence[Contrast]
) -> list[Together]:
    """What cells that differ in their training seed alone come to, in every measure.

    Args:
        cells: Their records.
        measures: What is known of them.
        contrasts: Between them, for the difference to the baseline.
    """
    from mini_lima.statistics import over_seeds as summarised

    groups = groups_of(cells)
    differences = {
        (each.measure, each.row, *each.terms): each
        for each in contrasts
        if each.kind == "sft" and each.terms.get(BASELINE) == -1
    }
    together = []
    for group in groups:
        results = [c.result for c in group.finished.values() if c.result is not None]
        for measure in measures if len(results) > 1 else ():
            tables = measure.cells.get((group.row, group.arm), ())
            if len(tables) < len(results):
                continue  # verdicts that are not in the store any more
            drawn: Drawn = {
                "seed": results[0].seed,
                "confidence": results[0].confidence,
                "samples": results[0].bootstrap_samples,
            }
            numbered = dict(zip(group.finished, tables, strict=True))
            against = differences.get((measure.name, group.row, group.arm, BASELINE))
            together.append(
                Together(
                    row=group.title,
                    arm=group.arm,
                    measure=measure.name,
                    unit=measure.unit,
                    over=summarised(numbered, unit=measure.unit, **drawn),
                    difference=PairedDifference(None, None, None, 0)
                    if against is None
                    else PairedDifference(against.difference, against.low, against.high, against.n),
                )
            )
    return together
