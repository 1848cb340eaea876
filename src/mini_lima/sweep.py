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
from mini_lima.report import comparison, comparison_run, page, table
from mini_lima.report.comparison import BASELINE, Comparison
from mini_lima.report.groups import Group, groups_of, titles_of


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare all cells in ``folders``, each a cell or the folder of a sweep.

    Raises:
        UserError: a folder is not there, or there is no cell in any of them.
    """
    if absent := [str(folder) for folder in folders if not folder.exists()]:
        raise UserError(f"{', '.join(absent)}: no such folder")
    cells = [cell for folder in folders for cell in comparison.read_cells(folder)]
    if not cells:
        raise UserError(f"{', '.join(map(str, folders))}: no cell has been started there")
    compared = contrasts(cells)
    return comparison.compare(cells, compared, over_seeds(cells, compared))


def summarise(folders: Sequence[Path], into: Path, *, track: bool = True) -> None:
    """Print the comparison of the cells in ``folders`` and write its report ``into`` a folder.

    With ``track`` it is in Weights & Biases too, if the cells are.

    Raises:
        UserError: see `compare`; or there can be no such folder ``into``.
    """
    found = compare(folders)
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{into}: no folder for the report can be made: {error.strerror}"
        ) from error
    table.write_report(into, found)
    table.show(found)
    page.write_page(into, found)
    print(f"{into / 'report.md'}\n{into / 'report.html'}")
    if track and (said := comparison_run.track(found, into)):
        print(said)


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
    for group in groups_of(cells):
        if tuned := _over_seeds(group, "sft"):
            judged[group.row, group.method] = tuned
        if baseline := _over_seeds(group, "baseline"):
            judged[group.row, BASELINE] = baseline
    if not judged:
        return []
    settings = next(cell["result"] for cell in cells if "annotations" in cell)
    asked = {row["instruction"] for row in next(iter(judged.values()))}
    same = {
        cell: verdicts
        for cell, verdicts in judged.items()
        if {row["instruction"] for row in verdicts} == asked
    }
    drawn = _drawn(settings)
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


def over_seeds(
    cells: Sequence[dict[str, Any]], contrasts: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What cells that differ in their training seed alone come to, as `Comparison.seeds`.

    Args:
        cells: Their records.
        contrasts: Between them, for the difference to the baseline.
    """
    from mini_lima.evaluation.seeded import over_seeds as summarised

    found, groups = [], groups_of(cells)
    titles = titles_of(groups)
    for group in groups:
        finished = group.finished
        rows = [
            row | {"seed": seed}
            for seed, cell in finished.items()
            for row in _read(cell.get("annotations", {}).get("sft"))
        ]
        if len({row["seed"] for row in rows}) < max(2, len(finished)):
            continue  # one cell, or verdicts that are not in the store any more
        result = next(iter(finished.values()))["result"]
        name = f"{group.row}: {group.method} − {BASELINE}"
        against = [
            {key: each[key] for key in ("difference", "low", "high", "n")}
            for each in contrasts
            if each["name"] == name and each["annotator"] == rows[0]["annotator"]
        ]
        unknown = {"difference": None, "low": None, "high": None, "n": 0}
        found.append(
            {
                "row": titles[group.row],
                "method": group.method,
                "annotator": rows[0]["annotator"],
                **asdict(summarised(rows, **_drawn(result))),
                "difference": (against or [unknown])[0],
            }
        )
    return found


def _over_seeds(group: Group, which: str) -> list[dict[str, Any]]:
    """The verdicts on all seeds of ``group``, each with its seed.

    Seeds that share their outputs, as all do of the baseline, are one: theirs are verdicts on the
    same answers, which have no seed.
    """
    seeds = {
        cell["annotations"][which]: (seed, verdicts)
        for seed, cell in group.finished.items()
        if "annotations" in cell and (verdicts := _verdicts(cell, which))
    }
    if len(seeds) == 1:
        return next(verdicts for _, verdicts in seeds.values())
    return [row | {"seed": seed} for seed, verdicts in seeds.values() for row in verdicts]


def _drawn(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": result["seed"],
        "confidence": result["confidence"],
        "samples": result["bootstrap_samples"],
    }


def _verdicts(cell: dict[str, Any], which: str) -> list[dict[str, Any]]:
    """The verdicts of all annotators of ``cell`` that are still in the store."""
    rows = _read(cell["annotations"][which])
    for name, folders in cell.get("other_annotations", {}).items():
        rows += [row | {"annotator": name} for row in _read(folders[which])]
    return rows


def _read(folder: str | None) -> list[dict[str, Any]]:
    path = Path(folder or "", "annotations.json")
    return list(read_json(path)) if folder and path.is_file() else []
