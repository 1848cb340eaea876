"""What the page is made of: the comparison, and what its cells left in the store.

All reading of files happens here. A record may be of a cell that failed, or name stages that have
been moved or pruned since: what is not there is noted and the rest is read.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat import LEDGER
from mini_lima.errors import UserError
from mini_lima.files import read_json, read_jsonl
from mini_lima.report.comparison import Comparison
from mini_lima.report.entries import judged_by_the_first
from mini_lima.report.groups import labelled, placed
from mini_lima.report.page.axes import looks_of
from mini_lima.results import (
    BASELINE,
    Agreement,
    CellRecord,
    Cost,
    Health,
    Judged,
    Result,
    Which,
    cost_of,
)


@dataclass(frozen=True)
class Evaluated:
    """One entry of the table: a model's answers and what was made of them.

    Attributes:
        row: Row of the table.
        model: Name of the model, which is also the row where nothing else differs.
        column: ``baseline`` or an arm.
        seed: Of the training, where a row has several.
        health: Of the answers.
        found: What the first judge made of them; None where nobody judges.
        others: The same by the names of further judges, and how they agree with the first.
        verdicts: Rows of annotations.json; empty where it is not to be had.
    """

    row: str
    model: str
    column: str
    seed: int | None
    health: Health
    found: Judged | None
    others: dict[str, tuple[Judged, Agreement | None]]
    verdicts: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Row, column and seed."""
        return f"{self.row}: {self.label}"

    @property
    def label(self) -> str:
        """Column and seed."""
        return labelled(self.column, self.seed)

    @property
    def short(self) -> str:
        """The same where there is little room."""
        return self.column if self.seed is None else f"{self.column} · {self.seed}"


@dataclass(frozen=True)
class Training:
    """The loss by step, without the steps whose loss is not a number."""

    row: str
    column: str
    seed: int | None
    losses: list[tuple[float, float]]
    not_finite: int

    @property
    def label(self) -> str:
        """Column and seed."""
        return labelled(self.column, self.seed)


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows.

    Attributes:
        comparison: The table, contrasts and notes, with the cells' records.
        evaluated: Entries of the table, by row and column.
        trainings: By row and column.
        data_sets: ``stats.json`` by the name of the data set's stage.
        arms: Which of these are an arm's own, and not what it was made from.
        costs: Tokens, dollars and warnings of what was asked, by the name of the stage.
        stages: ``stage.json`` by the name of the stage.
        lost: What could not be read.
    """

    comparison: Comparison
    evaluated: list[Evaluated] = field(default_factory=list)
    trainings: list[Training] = field(default_factory=list)
    data_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def looks(self) -> dict[str, str]:
        """How each column looks in pictures."""
        return looks_of(self.comparison.columns)


def gather(comparison: Comparison) -> ReportData:
    """Read what the cells of ``comparison`` left in the store."""
    material = ReportData(comparison)
    evaluated: dict[tuple[str, str, int | None], Evaluated] = {}
    for row, arm, seed, cell in placed(comparison.cells):
        _read_stages(material, row, seed, cell)
        if cell.result is None:
            continue
        for which, column, trained in _sides(arm, seed):
            if (row, column, trained) not in evaluated:
                evaluated[row, column, trained] = _evaluated(
                    material, cell, cell.result, which, (row, column, trained)
                )
    order = {column: number for number, column in enumerate(comparison.columns)}
    rows = {row: number for number, row in enumerate(comparison.rows)}

    def place(each: Evaluated | Training) -> tuple[int, int, int]:
        return rows.get(each.row, len(rows)), order[each.column], each.seed or 0

    material.evaluated.extend(sorted(evaluated.values(), key=place))
    material.trainings.sort(key=place)
    return material


def _sides(arm: str, seed: int | None) -> Iterator[tuple[Which, str, int | None]]:
    yield "baseline", BASELINE, None
    yield "sft", arm, seed


def _evaluated(
    material: ReportData,
    cell: CellRecord,
    result: Result,
    which: Which,
    place: tuple[str, str, int | None],
) -> Evaluated:
    folder = None
    if result.judges and (folders := cell.annotations.get(result.judges[0].key)):
        folder = getattr(folders, which)
    row, column, seed = place
    return Evaluated(
        row=row,
        model=cell.model,
        column=column,
        seed=seed,
        health=result.health[which],
        found=judged_by_the_first(result, which),
        others={
            judge.name: (getattr(judge, which), judge.agreement if which == "sft" else None)
            for judge in result.judges[1:]
        },
        verdicts=_read(material, folder, "annotations.json") or [],
    )


def _read_stages(material: ReportData, row: str, seed: int | None, cell: CellRecord) -> None:
    material.costs.update(cell.costs)
    made = [name for name in cell.stages if name.startswith("data ")]
    material.arms.update({name: cell.arm for name in made[-1:]})  # its inputs come before it
    for name, folder in cell.stages.items():
        if not Path(folder).is_dir():
            # The folder of a stage appears when it is complete: an unfinished cell lost nothing.
            if cell.result is not None:
                _lose(material, f"{folder}: not there")
            continue
        if name not in material.stages and (record := _read(material, folder, "stage.json")):
            material.stages[name] = record
        if (ledger := Path(folder, LEDGER)).is_file():
            try:
                material.costs[name] = cost_of(ledger)
            except UserError as error:
                _lose(material, str(error))
        kind = name.partition(" ")[0]
        if kind == "data" and name not in material.data_sets:
            if stats := _read(material, folder, "stats.json"):
                material.data_sets[name] = stats
        elif kind == "sft":
            steps = _read(material, folder, "metrics.jsonl") or []
            material.trainings.append(_training(row, cell.arm, seed, steps))


def _training(
    row: str, column: str, seed: int | None, steps: Sequence[Mapping[str, Any]]
) -> Training:
    losses = [(step["step"], step["loss"]) for step in steps if {"step", "loss"} <= step.keys()]
    finite = [(at, loss) for at, loss in losses if loss is not None and math.isfinite(loss)]
    return Training(row, column, seed, finite, len(losses) - len(finite))


def _read(material: ReportData, folder: str | None, name: str) -> Any:
    """Return the document, or None and a note of its absence."""
    if folder is None:
        return None
    path = Path(folder, name)
    try:
        return read_jsonl(path) if path.suffix == ".jsonl" else read_json(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        _lose(material, f"{path}: {reason}")
        return None


def _lose(material: ReportData, line: str) -> None:
    if line not in material.lost:
        material.lost.append(line)
