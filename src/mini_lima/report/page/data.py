"""What the page is made of: the comparison, and what its cells left in the store.

All reading of files happens here. A record may be of a cell that failed, or name stages that have
been moved or pruned since: what is not there is noted and the rest is read.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat import LEDGER
from mini_lima.errors import UserError
from mini_lima.files import read_json, read_jsonl
from mini_lima.report.charts import looks_of
from mini_lima.report.comparison import Comparison
from mini_lima.report.groups import groups_of, labelled
from mini_lima.results import (
    BASELINE,
    Agreement,
    CellRecord,
    Cost,
    Health,
    Judged,
    Training,
    Which,
    cost_of,
)
from mini_lima.store import contents


@dataclass(frozen=True)
class Place:
    """One model's place in the table: a row, a column, and a seed where the row has several."""

    row: str
    column: str
    seed: int | None

    @property
    def name(self) -> str:
        """Row, column and seed."""
        return f"{self.row}: {labelled(self.column, self.seed)}"


@dataclass(frozen=True)
class Evaluated:
    """A model's answers and what was made of them.

    Attributes:
        at: Its place.
        model: Name of the model, which is also the row where nothing else differs.
        health: Of the answers.
        found: What the first judge made of them; None where nobody judges.
        others: The same by the names of further judges, and how they agree with the first.
        verdicts: Rows of annotations.json; empty where it is not to be had.
    """

    at: Place
    model: str
    health: Health
    found: Judged | None
    others: dict[str, tuple[Judged, Agreement | None]]
    verdicts: list[dict[str, Any]]


@dataclass(frozen=True)
class Trained:
    """A training: the loss by step, without the steps whose loss is not a number."""

    at: Place
    losses: list[tuple[float, float]]
    not_finite: int
    summary: Training | None


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows.

    Attributes:
        comparison: The table, contrasts and notes, with the cells' records.
        evaluated: By row and column.
        trainings: By row and column.
        data_sets: ``stats.json`` by the name of the data set's stage.
        arms: Which of these are an arm's own, and not what it was made from.
        costs: Tokens, dollars and warnings of what was asked, by the name of the stage.
        stages: ``stage.json`` by the name of the stage.
        lost: What could not be read.
    """

    comparison: Comparison
    evaluated: list[Evaluated] = field(default_factory=list)
    trainings: list[Trained] = field(default_factory=list)
    data_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def looks(self) -> dict[str, str]:
        """How each column looks in pictures."""
        return looks_of(self.comparison.columns)

    @property
    def seeded(self) -> bool:
        """Whether a row has several training seeds."""
        return any(each.at.seed is not None for each in self.evaluated)


def gather(comparison: Comparison) -> ReportData:
    """Read what the cells of ``comparison`` left in the store."""
    data = ReportData(comparison)
    evaluated: dict[Place, Evaluated] = {}
    for group in groups_of(comparison.cells):
        of_baseline = Place(group.title, BASELINE, None)
        for seed, cell in group.cells.items():
            at = Place(group.title, group.arm, seed if group.title != group.row else None)
            _read_stages(data, at, cell)
            if cell.result is not None:
                if of_baseline not in evaluated:
                    evaluated[of_baseline] = _evaluated(data, cell, "baseline", of_baseline)
                evaluated[at] = _evaluated(data, cell, "sft", at)
    rows, columns = [*comparison.rows], comparison.columns

    def order(each: Evaluated | Trained) -> tuple[int, int, int]:
        return rows.index(each.at.row), columns.index(each.at.column), each.at.seed or 0

    data.evaluated.extend(sorted(evaluated.values(), key=order))
    data.trainings.sort(key=order)
    return data


def _evaluated(data: ReportData, cell: CellRecord, which: Which, at: Place) -> Evaluated:
    assert cell.result is not None
    judges = cell.result.judges
    verdicts = None
    if judges and (folders := cell.annotations.get(judges[0].key)):
        verdicts = _read(data, Path(getattr(folders, which), "annotations.json"))
    return Evaluated(
        at=at,
        model=cell.model,
        health=cell.result.health[which],
        found=getattr(judges[0], which) if judges else None,
        others={
            judge.name: (getattr(judge, which), judge.agreement if which == "sft" else None)
            for judge in judges[1:]
        },
        verdicts=verdicts or [],
    )


def _read_stages(data: ReportData, at: Place, cell: CellRecord) -> None:
    data.costs.update(cell.costs)
    made = [name for name in cell.stages if name.startswith("data ")]
    data.arms.update({name: cell.arm for name in made[-1:]})  # its inputs come before it
    losses: list[dict[str, Any]] = []
    for name, folder in ((name, Path(where)) for name, where in cell.stages.items()):
        if not os.path.isdir(folder):  # which is no error where it is not ours to see
            # The folder of a stage appears when it is complete: an unfinished cell lost nothing.
            if cell.result is not None:
                _lose(data, f"{folder}: not there")
            continue
        if name not in data.stages and (record := _read(data, folder / "stage.json")):
            data.stages[name] = record
        if os.path.isfile(folder / LEDGER):
            try:
                data.costs[name] = cost_of(folder / LEDGER)
            except UserError as error:
                _lose(data, str(error))
        if name in made and name not in data.data_sets:
            if stats := _read(data, folder / "stats.json"):
                data.data_sets[name] = stats
        elif name.startswith("sft "):
            losses = _read(data, folder / "metrics.jsonl") or []
    data.trainings.append(_trained(at, losses, cell))


def _trained(at: Place, steps: Sequence[dict[str, Any]], cell: CellRecord) -> Trained:
    losses = [(step["step"], step["loss"]) for step in steps if {"step", "loss"} <= step.keys()]
    finite = [(at, loss) for at, loss in losses if loss is not None and math.isfinite(loss)]
    summary = cell.result.training if cell.result else None
    return Trained(at, finite, len(losses) - len(finite), summary)


def _read(data: ReportData, path: Path) -> Any:
    """Return the document, or None and a note of its absence."""
    if found := contents.damage(path.parent):
        _lose(data, contents.refusal(path.parent, found))
        return None
    try:
        return read_jsonl(path) if path.suffix == ".jsonl" else read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        _lose(data, f"{path}: {reason}")
        return None


def _lose(data: ReportData, line: str) -> None:
    if line not in data.lost:
        data.lost.append(line)
