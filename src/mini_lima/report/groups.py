"""Which cells stand where in the table: a row per model and recipe, a column per arm.

Cells that differ in their training seed alone are one group and share a place. Anything else that
changes results sets rows apart, by value and not by how it was written; what two results of one
place differ in may be known to nobody (another version made one of them), and even then both are
shown.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mini_lima.results import CellRecord, Result

OWN_PLACE = ("model=", "data=", "experiment=", "seed=", "sft.seed=")
"""Overrides that set no row apart."""
STUDY = ("naive", "improved")
"""The study's arms, in its order."""
OF_THE_MODEL, OF_THE_DATA = "model.", "data."
MOST_NAMED = 3
"""Differences up to which a row is named by all of them."""
LONGEST_VALUE = 32


@dataclass(frozen=True)
class Group:
    """One place of the table.

    Attributes:
        row: The model, and what else sets it apart.
        title: The same, with the number of the row's seeds if there are several.
        arm: The column.
        cells: Their records by training seed.
    """

    row: str
    title: str
    arm: str
    cells: Mapping[int, CellRecord]

    @property
    def finished(self) -> dict[int, CellRecord]:
        """Those that have a result."""
        return {n: cell for n, cell in self.cells.items() if cell.result is not None}

    @property
    def results(self) -> list[Result]:
        """The results, by training seed."""
        return [cell.result for cell in self.cells.values() if cell.result is not None]


def arms_of(cells: Sequence[CellRecord]) -> list[str]:
    """The columns: arms of few steps first, of as many the study's, and then as they are met."""
    steps: dict[str, int] = {}
    for cell in cells:
        configured = cell.config.get("data", {}).get("steps") or {}
        steps[cell.arm] = max(steps.get(cell.arm, 0), len(cell.steps or configured))
    return sorted(steps, key=lambda arm: (steps[arm], arm not in STUDY))


def rows_of(cells: Sequence[CellRecord]) -> list[str]:
    """The row that each cell stands in: its model, and what else sets it apart."""
    traits = [_traits(cell) for cell in cells]
    keys = _telling(cells, traits)
    named = [
        " ".join([cell.model, *(f"{k}={_shown(own.get(k))}" for k in keys[cell.model] if k in own)])
        for cell, own in zip(cells, traits, strict=True)
    ]
    return _apart(cells, _with_unknown(cells, named))


def groups_of(cells: Sequence[CellRecord]) -> list[Group]:
    """Put ``cells`` where they belong, in their order.

    Of two records of one cell, as two sweeps may have them, the later one counts, but none that has
    no result hides one that has.
    """
    found: dict[tuple[str, str], dict[int, CellRecord]] = {}
    for row, cell in zip(rows_of(cells), cells, strict=True):
        group = found.setdefault((row, cell.arm), {})
        earlier = group.get(cell.seed, cell)
        if cell.result is not None or earlier.result is None:
            group[cell.seed] = cell
    seeds: dict[str, set[int]] = defaultdict(set)
    for (row, _), group in found.items():
        seeds[row] |= group.keys()
    return [
        Group(
            row,
            f"{row}, {len(seeds[row])} seeds" if len(seeds[row]) > 1 else row,
            arm,
            dict(sorted(group.items())),
        )
        for (row, arm), group in found.items()
    ]


def labelled(column: str, seed: int | None) -> str:
    """What a column is called where it stands for one training of several."""
    return column if seed is None else f"{column}, seed {seed}"


def _traits(cell: CellRecord) -> dict[str, str]:
    """All that changes the result of ``cell``, its seed aside, as JSON by dotted name."""
    found = {key: json.dumps(value, sort_keys=True) for key, value in (cell.recipe or {}).items()}
    for step, values in (cell.steps or {}).items():
        found[f"{OF_THE_DATA}{step}"] = "true"
        found |= {
            f"{OF_THE_DATA}{step}.{key}": json.dumps(value, sort_keys=True)
            for key, value in values.items()
        }
    return found


def _telling(
    cells: Sequence[CellRecord], traits: Sequence[Mapping[str, str]]
) -> dict[str, list[str]]:
    """Return by model the traits that set cells apart.

    Models differ from one another in what is theirs, and arms in their data: that counts where it
    differs within a model, within an arm.
    """
    known = [(cell, own) for cell, own in zip(cells, traits, strict=True) if own]
    alike: dict[str, dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for key in dict.fromkeys(key for _, own in known for key in own):
        for cell, own in known:
            if key not in own and (cell.until or _of_a_step_that_is_not_there(key, own)):
                continue
            within = (
                f"arm {cell.arm}"
                if key.startswith(OF_THE_DATA)
                else f"model {cell.model}"
                if key.startswith(OF_THE_MODEL)
                else ""
            )
            alike[key][within].add(own.get(key))
    differing = [k for k, by in alike.items() if any(len(values) > 1 for values in by.values())]
    return {
        model: _enough(differing, [own for cell, own in known if cell.model == model])
        for model in {cell.model for cell in cells}
    }


def _of_a_step_that_is_not_there(key: str, own: Mapping[str, str]) -> bool:
    """Whether ``key`` is a value of a step that has, or lacks, a trait of its own."""
    step = ".".join(key.split(".")[:2])
    return key.startswith(OF_THE_DATA) and key != step and step not in own


def _enough(keys: Sequence[str], traits: Sequence[Mapping[str, str]]) -> list[str]:
    """Of many differences, those that tell a model's cells apart as well as all of them do."""
    if len(keys) <= MOST_NAMED:
        return list(keys)
    chosen: list[str] = []
    for key in keys:
        with_it = {tuple(own.get(k) for k in (*chosen, key)) for own in traits}
        without = {tuple(own.get(k) for k in chosen) for own in traits}
        if len(with_it) > len(without):
            chosen.append(key)
    return chosen


def _shown(value: str | None) -> str:
    """A value as a command line would have it, and short."""
    text = "null" if value is None else value.strip('"')
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[: LONGEST_VALUE - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _with_unknown(cells: Sequence[CellRecord], named: Sequence[str]) -> list[str]:
    """Place cells that ended before they were laid out: beside one that was asked for alike."""
    shared = set.intersection(*(set(cell.overrides) for cell in cells)) if cells else set()
    asked = [
        " ".join(
            [
                cell.model,
                *(o for o in cell.overrides if not (o in shared or o.startswith(OWN_PLACE))),
            ]
        )
        for cell in cells
    ]
    laid_out = [cell.recipe is not None for cell in cells]
    like = {own: row for own, row, known in zip(asked, named, laid_out, strict=True) if known}
    return [
        row if known else like.get(own, own)
        for own, row, known in zip(asked, named, laid_out, strict=True)
    ]


def _apart(cells: Sequence[CellRecord], named: Sequence[str]) -> list[str]:
    """Name rows that hold two different results in one place by their sweeps, at worst by cells."""
    rows = list(named)
    for name in ("sweep", "folder"):
        results: dict[tuple[str, str, int], set[str]] = defaultdict(set)
        for row, cell in zip(rows, cells, strict=True):
            if cell.fingerprint is not None:
                results[row, cell.arm, cell.seed].add(cell.fingerprint)
        twice = {row for (row, _, _), found in results.items() if len(found) > 1}
        rows = [
            f"{row}, {getattr(cell, name)}" if row in twice else row
            for row, cell in zip(rows, cells, strict=True)
        ]
    return rows
