"""The cells of a sweep side by side: rows are models, columns the baseline and the data methods.

The comparison is made from what the cells left in their folders, so it can be made again at any
time, and a cell that failed or was killed stands in it as such.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.files import read_json

BASELINE = "baseline"
NOTHING = "–"
CONTRASTS = (
    "Contrasts are paired by instruction and order; in brackets their bootstrap interval. By length"
    " alone: the same contrast if the longer answer always won. p: sign-flip test, corrected for"
    " the number of contrasts (Holm). Could find: the smallest true difference that this design"
    " finds four times in five."
)
OWN_COLUMN = ("model=", "data=", "experiment=")


@dataclass(frozen=True)
class Comparison:
    """A table of texts with the results behind it.

    Attributes:
        columns: ``baseline`` and the data methods, in the order of the study.
        rows: Per model (and whatever else differs), the lines of each column's entry.
        notes: What has to be known to read the table.
        contrasts: Differences between the cells, as `mini_lima.evaluation.contrasts` has them.
        cells: The records that it was made from.
    """

    columns: list[str]
    rows: dict[str, dict[str, list[str]]]
    notes: list[str]
    contrasts: list[dict[str, Any]]
    cells: list[dict[str, Any]]

    def lines(self) -> list[dict[str, str]]:
        """The contrasts as texts by column; without a column that would say nothing."""
        several = len({each["annotator"] for each in self.contrasts}) > 1
        lines = [
            {
                "contrast": each["name"],
                "annotator": each["annotator"] if several else NOTHING,
                "difference": f"{_figure(each['difference'], '+')} {_interval(each, '+')}",
                "by length alone": _by_length(each["under_longest"]),
                "p": f"{each['p_holm']:.3f}",
                "could find": _figure(each["detectable"]),
                "verdict": each["verdict"],
            }
            for each in self.contrasts
        ]
        said = {name for line in lines for name, text in line.items() if text != NOTHING}
        return [{name: line[name] for name in line if name in said} for line in lines]


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """Return the records of all cells in ``folder``, a cell or a sweep; small models first."""
    found = sorted([*folder.glob("cell.json"), *folder.glob("*/cell.json")])
    return sorted(({**read_json(path), "folder": path.parent.name} for path in found), key=_size)


def rows_of(cells: Sequence[dict[str, Any]]) -> list[str]:
    """The row that each cell stands in: its model, and what else sets it apart."""
    shared = set.intersection(*(set(cell["overrides"]) for cell in cells)) if cells else set()
    own = (
        [o for o in cell["overrides"] if o not in shared and not o.startswith(OWN_COLUMN)]
        for cell in cells
    )
    return [" ".join([cell["model"], *more]) for cell, more in zip(cells, own, strict=True)]


def compare(
    cells: Sequence[dict[str, Any]], contrasts: Sequence[dict[str, Any]] = ()
) -> Comparison:
    """Lay out ``cells`` as the study's table, with the ``contrasts`` between them."""
    methods = sorted({cell["method"] for cell in cells}, key=["naive", "improved"].index)
    rows: dict[str, dict[str, list[str]]] = {}
    for name, cell in sorted(zip(rows_of(cells), cells, strict=True), key=lambda e: _size(e[1])):
        row = rows.setdefault(name, {})
        if cell["status"] == "finished":
            row[BASELINE] = _entry(cell["result"]["baseline"])
            row[cell["method"]] = [
                *_entry(cell["result"]["sft"]),
                _difference(cell["result"]["sft_minus_baseline"]),
            ]
        else:
            row[cell["method"]] = [cell["status"], *_what_became_of(cell)]
    notes = _notes(cells)
    if contrasts:
        notes.append(CONTRASTS)
    return Comparison([BASELINE, *methods], rows, notes, list(contrasts), list(cells))


def _what_became_of(cell: dict[str, Any]) -> list[str]:
    """Why a cell is not finished, and where that can be read."""
    reason = cell.get("reason", "killed, or still running").splitlines()[:2]
    log = cell.get("log")
    return [*reason, f"log: {log}"] if log and log not in "".join(reason) else reason


def _money(finished: Sequence[dict[str, Any]]) -> list[str]:
    """What the answers behind the table did cost, shared stages once, and warnings about them."""
    stages = {name: cost for cell in finished for name, cost in cell.get("costs", {}).items()}
    replies = sum(cost["replies"] for cost in stages.values())
    if not replies:
        return []
    unpriced = sum(cost["unpriced"] for cost in stages.values())
    usd = sum(cost["usd"] for cost in stages.values())
    known = f"cost ${usd:.2f}" if unpriced < replies else "have no known cost"
    rest = f", not counting {unpriced} of unknown cost" if 0 < unpriced < replies else ""
    warnings = [f"{name}: {line}" for name, cost in stages.items() for line in cost["warnings"]]
    return [
        f"The {replies} replies of teacher and annotator behind this table {known}{rest}.",
        *(f"Warning: {line}." for line in warnings),
    ]


def _size(cell: dict[str, Any]) -> tuple[float, str]:
    result = cell.get("result")
    return (result["training"]["parameters"] if result else float("inf"), cell["model"])


def _entry(found: dict[str, Any]) -> list[str]:
    health = found["health"]
    incomplete = " – incomplete" if found.get("incomplete") else ""
    return [
        f"{_figure(found['win_rate'])} {_interval(found)}{incomplete}",
        f"{found['avg_length']:.0f} chars, {health['cut_at_limit']} cut",
        f"n {found['n_total']}, {found['n_failed']} failed",
        *_length_controlled(found.get("length_controlled") or {}),
    ]


def _length_controlled(found: dict[str, Any]) -> list[str]:
    if found.get("win_rate") is None:
        return []
    return [f"length-controlled {_figure(found['win_rate'])} {_interval(found)}"]


def _difference(found: dict[str, Any]) -> str:
    return f"Δ {_figure(found['difference'], '+')} {_interval(found, '+')}"


def _by_length(found: dict[str, Any] | None) -> str:
    return (
        NOTHING if found is None else f"{_figure(found['difference'], '+')} {_interval(found, '+')}"
    )


def _interval(found: dict[str, Any], sign: str = "") -> str:
    return f"[{_figure(found['low'], sign)}, {_figure(found['high'], sign)}]"


def _figure(value: float | None, sign: str = "") -> str:
    return NOTHING if value is None else f"{value:{sign}.1f}".replace("-", "−")


def _health(finished: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with model outputs beyond their thresholds, a line for each that has faults."""
    evaluated = [cell["result"][which] for cell in finished for which in (BASELINE, "sft")]
    lines = [
        f"Answers of {found['generator']}: {'; '.join(found['health']['warnings'])}."
        for found in evaluated
        if found["health"].get("warnings")
    ]
    return list(dict.fromkeys(lines))


def _notes(cells: Sequence[dict[str, Any]]) -> list[str]:
    finished = [cell for cell in cells if cell["status"] == "finished"]
    if not finished:
        return []
    result = finished[0]["result"]
    annotators = sorted({cell["result"]["sft"]["annotator"] for cell in finished})
    references = sorted({cell["result"]["sft"]["reference"] for cell in finished})
    notes = [
        f"Win rate in percent against {', '.join(references)}, judged by {', '.join(annotators)};"
        f" in brackets the {result['confidence']:.0%} bootstrap interval over the instructions."
        " n: verdicts, in both orders of the outputs unless annotator.orders says otherwise.",
        "Δ is the difference to the model's baseline, paired by instruction. cut: answers that"
        " ran into the length limit. failed: verdicts that could not be read. chars: mean length.",
    ]
    notes += _money(finished)
    notes += _health(finished)
    notes += [
        f"{cell['folder']} is not in Weights & Biases: {cell['not_tracked']}"
        for cell in finished
        if "not_tracked" in cell
    ]
    if any(cell["config"]["model"]["weights"] == "random" for cell in finished):
        notes.append(
            "The embedded models start from random weights: these win rates prove that the"
            " machinery works and say nothing about Qwen or about the data methods."
        )
    return notes
