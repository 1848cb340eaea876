"""What the cells of a sweep say together: the table, the contrasts between its cells, the page.

Made from what the cells left in their folders and in the store, so it can be made again at any
time, and over several sweeps at once.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_json
from mini_lima.report import comparison, page, table
from mini_lima.report.comparison import BASELINE, Comparison


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare all cells in ``folders``, each a cell or the folder of a sweep.

    Raises:
        UserError: there are none.
    """
    cells = [cell for folder in folders for cell in comparison.read_cells(folder)]
    if not cells:
        raise UserError(f"{', '.join(map(str, folders))}: no cell has been started there")
    return comparison.compare(cells, contrasts(cells))


def summarise(folders: Sequence[Path], into: Path) -> None:
    """Print the comparison of the cells in ``folders`` and write its report ``into`` a folder."""
    found = compare(folders)
    table.write_report(into, found)
    table.show(found)
    page.write_page(into, found)
    print(f"{into / 'report.md'}\n{into / 'report.html'}")


def finish(folder: Path) -> int:
    """Summarise what has just been run into ``folder``; return its exit code.

    The code is the highest of the cells', as their records say: wherever a cell ran, and whatever
    ended it, its record is here. Without a summary if no cell got as far as to begin its work.
    """
    cells = comparison.read_cells(folder)
    codes = [0 if c["status"] == "finished" else int(c.get("exit_code", 1)) for c in cells]
    if min(codes, default=2) < 2:
        summarise([folder], into=folder)
    return max(codes, default=0)


def contrasts(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contrasts between finished cells, each with what length alone makes of it.

    Cells that were judged on other instructions, or settings, than the first are left out of them.
    """
    from mini_lima.evaluation.contrasts import contrasts as compared
    from mini_lima.evaluation.length import LONGEST, under_longest

    judged: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row, cell in zip(comparison.rows_of(cells), cells, strict=True):
        for which in ("baseline", "sft"):
            if verdicts := _verdicts(cell, which):
                judged[row, BASELINE if which == "baseline" else cell["method"]] = verdicts
    if not judged:
        return []
    settings = next(cell["result"] for cell in cells if "annotations" in cell)
    asked = {row["instruction"] for row in next(iter(judged.values()))}
    same = {
        cell: verdicts
        for cell, verdicts in judged.items()
        if {row["instruction"] for row in verdicts} == asked
    }
    drawn: dict[str, Any] = {
        "seed": settings["seed"],
        "confidence": settings["confidence"],
        "samples": settings["bootstrap_samples"],
    }
    by_length = {
        each.name: asdict(each)
        for each in compared({cell: under_longest(v) for cell, v in same.items()}, **drawn)
    }
    return [
        {
            **asdict(each),
            "under_longest": None if each.annotator == LONGEST else by_length.get(each.name),
        }
        for each in compared(same, **drawn)
    ]


def _verdicts(cell: dict[str, Any], which: str) -> list[dict[str, Any]]:
    """The verdicts of all annotators of ``cell`` that are still in the store."""
    folders = {"": cell["annotations"][which]} if "annotations" in cell else {}
    folders |= {name: each[which] for name, each in cell.get("other_annotations", {}).items()}
    rows = []
    for name, folder in folders.items():
        path = Path(folder, "annotations.json")
        if path.is_file():
            rows += [{**row, "annotator": name or row["annotator"]} for row in read_json(path)]
    return rows
