"""The cells of a sweep side by side: rows are models, columns the baseline and the data methods.

The comparison is made from what the cells left in their folders, so it can be made again at any
time, and a cell that failed or was killed stands in it as such. Cells that differ in their training
seed alone share an entry, which says how many of them it is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.files import read_json
from mini_lima.report.entries import entry, entry_of, figure, interval
from mini_lima.report.figures import NOTHING
from mini_lima.report.groups import groups_of, titles_of

BASELINE = "baseline"
CONTRASTS = (
    "Contrasts are paired by instruction and order; in brackets their bootstrap interval, wider"
    " by what several seeds show. By length alone: the same contrast if the longer answer always"
    " won. p: sign-flip test, seeds considered, corrected for the number of contrasts (Holm). Could"
    " find: the smallest true difference that this design finds four times in five."
)


@dataclass(frozen=True)
class Comparison:
    """A table of texts with the results behind it.

    Attributes:
        columns: ``baseline`` and the data methods, in the order of the study.
        rows: Per model (and whatever else differs), the lines of each column's entry.
        notes: What has to be known to read the table.
        contrasts: Differences between the cells, as `mini_lima.evaluation.contrasts` has them.
        cells: The records that it was made from.
        seeds: Per entry that stands for several training seeds: its ``row``, ``method`` and
            ``annotator``, the ``win_rates`` by seed, their mean ``win_rate`` and ``spread``
            (standard deviation), the mean's interval over instructions and seeds, and the
            ``difference`` to the baseline.
    """

    columns: list[str]
    rows: dict[str, dict[str, list[str]]]
    notes: list[str]
    contrasts: list[dict[str, Any]]
    cells: list[dict[str, Any]]
    seeds: list[dict[str, Any]] = field(default_factory=list)

    def lines(self) -> list[dict[str, str]]:
        """The contrasts as texts by column; without a column that would say nothing."""
        several = len({each["annotator"] for each in self.contrasts}) > 1
        lines = [
            {
                "contrast": each["name"],
                "annotator": each["annotator"] if several else NOTHING,
                "difference": f"{figure(each['difference'], '+')} {interval(each, '+')}",
                "by length alone": _by_length(each["under_longest"]),
                "p": f"{each['p_holm']:.3f}",
                "could find": figure(each["detectable"]),
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


def compare(
    cells: Sequence[dict[str, Any]],
    contrasts: Sequence[dict[str, Any]] = (),
    seeds: Sequence[dict[str, Any]] = (),
) -> Comparison:
    """Lay out ``cells`` as the study's table, with the ``contrasts`` between them.

    Args:
        cells: Their records.
        contrasts: Between them.
        seeds: What the cells that differ in their seed alone come to; see `Comparison`.
    """
    methods = sorted({cell["method"] for cell in cells}, key=["naive", "improved"].index)
    rows: dict[str, dict[str, list[str]]] = {}
    groups = groups_of(sorted(cells, key=_size))
    titles = titles_of(groups)
    together = {(each["row"], each["method"]): each for each in seeds}
    for group in groups:
        title = titles[group.row]
        row = rows.setdefault(title, {})
        for cell in group.finished.values():
            row[BASELINE] = entry(cell["result"]["baseline"])
        row[group.method] = entry_of(group, together.get((title, group.method)))
    notes = _notes(cells)
    if contrasts:
        notes.append(CONTRASTS)
    return Comparison([BASELINE, *methods], rows, notes, list(contrasts), list(cells), list(seeds))


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


def _by_length(found: dict[str, Any] | None) -> str:
    return (
        NOTHING if found is None else f"{figure(found['difference'], '+')} {interval(found, '+')}"
    )


def _health(finished: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with model outputs beyond their thresholds, a line for each that has faults."""
    evaluated = [cell["result"][which] for cell in finished for which in (BASELINE, "sft")]
    lines = [
        f"Answers of {found['generator']}: {'; '.join(found['health']['warnings'])}."
        for found in evaluated
        if found["health"].get("warnings")
    ]
    return list(dict.fromkeys(lines))


def _about_seeds(cells: Sequence[dict[str, Any]]) -> list[str]:
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
    notes += _about_seeds(cells)
    if any(cell["config"]["model"]["weights"] == "random" for cell in finished):
        notes.append(
            "The embedded models start from random weights: these win rates prove that the"
            " machinery works and say nothing about Qwen or about the data methods."
        )
    return notes
