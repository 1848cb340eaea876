"""What the page is made of: the comparison, and what its cells left in the store.

All reading of files happens here. A record may be of an older version, of a cell that failed, or
name stages that have been moved or pruned since: what is not there is noted and the rest is read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat import LEDGER
from mini_lima.files import read_json, read_jsonl
from mini_lima.report.comparison import BASELINE, Comparison, rows_of


@dataclass(frozen=True)
class Evaluated:
    """One entry of the table: a model's answers and what the annotator made of them.

    Attributes:
        row: Row of the table.
        model: Name of the model, which is also the row where nothing else differs.
        column: ``baseline`` or a data method.
        found: Win rate, health and all else, as the result has it.
        others: The same by the names of further annotators, and how they agree with the first.
        verdicts: Rows of annotations.json; empty where it is not to be had.
    """

    row: str
    model: str
    column: str
    found: Mapping[str, Any]
    others: dict[str, dict[str, Any]]
    verdicts: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Row and column."""
        return f"{self.row}: {self.column}"


@dataclass(frozen=True)
class Training:
    """The loss by step, without the steps whose loss is not a number."""

    row: str
    column: str
    losses: list[tuple[float, float]]
    not_finite: int


@dataclass(frozen=True)
class Material:
    """Everything that the page shows.

    Attributes:
        comparison: The table, contrasts and notes, with the cells' records.
        evaluated: Entries of the table, by row and column.
        trainings: By row and column.
        data_sets: ``stats.json`` by the name of the data set's stage.
        costs: Tokens, dollars and warnings of what was asked, by the name of the stage.
        stages: ``stage.json`` by the name of the stage.
        lost: What could not be read.
    """

    comparison: Comparison
    evaluated: list[Evaluated] = field(default_factory=list)
    trainings: list[Training] = field(default_factory=list)
    data_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Records of the cells that have a result."""
        return [cell for cell in self.comparison.cells if "result" in cell]


def gather(comparison: Comparison) -> Material:
    """Read what the cells of ``comparison`` left in the store."""
    material = Material(comparison)
    evaluated: dict[tuple[str, str], Evaluated] = {}
    cells = comparison.cells
    for row, cell in zip(rows_of(cells), cells, strict=True):
        _read_stages(material, row, cell)
        result, judged = cell.get("result", {}), cell.get("annotations", {})
        for which, column in ((BASELINE, BASELINE), ("sft", cell["method"])):
            if which in result and (row, column) not in evaluated:
                verdicts = _read(material, judged.get(which), "annotations.json") or []
                others = _others(result, which)
                entry = Evaluated(row, cell["model"], column, result[which], others, verdicts)
                evaluated[row, column] = entry
    order = {column: number for number, column in enumerate(comparison.columns)}
    rows = {row: number for number, row in enumerate(comparison.rows)}

    def place(each: Evaluated | Training) -> tuple[int, int]:
        return rows.get(each.row, len(rows)), order[each.column]

    material.evaluated.extend(sorted(evaluated.values(), key=place))
    material.trainings.sort(key=place)
    return material


def _others(result: Mapping[str, Any], which: str) -> dict[str, dict[str, Any]]:
    return {
        name: {**found[which], "agreement": found["agreement"] if which == "sft" else None}
        for name, found in result.get("other_annotators", {}).items()
    }


def _read_stages(material: Material, row: str, cell: Mapping[str, Any]) -> None:
    material.costs.update(cell.get("costs", {}))
    for name, folder in cell.get("stages", {}).items():
        if not Path(folder).is_dir():
            # The folder of a stage appears when it is complete: an unfinished cell lost nothing.
            if "result" in cell:
                _lose(material, f"{folder}: not there")
            continue
        if name not in material.stages and (record := _read(material, folder, "stage.json")):
            material.stages[name] = record
        if Path(folder, LEDGER).is_file() and (book := _read(material, folder, LEDGER)):
            material.costs[name] = {**book["value"], "warnings": book["warnings"]}
        kind = name.partition(" ")[0]
        if kind == "data" and name not in material.data_sets:
            if stats := _read(material, folder, "stats.json"):
                material.data_sets[name] = stats
        elif kind == "sft":
            steps = _read(material, folder, "metrics.jsonl") or []
            material.trainings.append(_training(row, cell["method"], steps))


def _training(row: str, column: str, steps: Sequence[Mapping[str, Any]]) -> Training:
    losses = [(step["step"], step["loss"]) for step in steps if {"step", "loss"} <= step.keys()]
    finite = [(at, loss) for at, loss in losses if loss is not None and math.isfinite(loss)]
    return Training(row, column, finite, len(losses) - len(finite))


def _read(material: Material, folder: str | None, name: str) -> Any:
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


def _lose(material: Material, line: str) -> None:
    if line not in material.lost:
        material.lost.append(line)
