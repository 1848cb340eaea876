"""Which cells stand where in the table: a row per model and setting, a column per data method.

Cells that differ in their training seed alone are one group and share a place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OWN_COLUMN = ("model=", "data=", "experiment=")
SEED = ("seed=", "sft.seed=")


@dataclass(frozen=True)
class Group:
    """One place of the table.

    Attributes:
        row: The model, and what else sets it apart.
        method: The column.
        cells: Their records by training seed.
    """

    row: str
    method: str
    cells: Mapping[int, dict[str, Any]]

    @property
    def finished(self) -> dict[int, dict[str, Any]]:
        """Those that have a result."""
        return {n: cell for n, cell in self.cells.items() if cell["status"] == "finished"}


def rows_of(cells: Sequence[dict[str, Any]]) -> list[str]:
    """The row that each cell stands in: its model, and what else sets it apart."""
    shared = set.intersection(*(set(cell["overrides"]) for cell in cells)) if cells else set()
    own = (
        [o for o in cell["overrides"] if o not in shared and not o.startswith((*OWN_COLUMN, *SEED))]
        for cell in cells
    )
    return [" ".join([cell["model"], *more]) for cell, more in zip(cells, own, strict=True)]


def seed_of(cell: Mapping[str, Any]) -> int:
    """The training seed of a cell."""
    return int(cell.get("config", {}).get("sft", {}).get("seed", 0))


def groups_of(cells: Sequence[dict[str, Any]]) -> list[Group]:
    """Put ``cells`` where they belong, in their order.

    Of two records of one cell, as two sweeps may have them, the later one counts, but none that did
    not finish hides one that did.
    """
    found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row, cell in zip(rows_of(cells), cells, strict=True):
        group = found.setdefault((row, cell["method"]), {})
        earlier = group.get(seed_of(cell), cell)
        if cell["status"] == "finished" or earlier["status"] != "finished":
            group[seed_of(cell)] = cell
    return [
        Group(row, method, dict(sorted(group.items()))) for (row, method), group in found.items()
    ]


def titles_of(groups: Sequence[Group]) -> dict[str, str]:
    """What each row is called, by row: with the number of its seeds if there are several."""
    seeds: dict[str, set[int]] = {}
    for group in groups:
        seeds.setdefault(group.row, set()).update(group.cells)
    return {row: f"{row}, {len(n)} seeds" if len(n) > 1 else row for row, n in seeds.items()}


def placed(
    cells: Sequence[dict[str, Any]],
) -> Iterator[tuple[str, str, int | None, dict[str, Any]]]:
    """Yield each of ``cells`` with its row's title, its column and, if a row has several, seed."""
    groups = groups_of(cells)
    titles = titles_of(groups)
    for group in groups:
        title = titles[group.row]
        for seed, cell in group.cells.items():
            yield title, group.method, None if title == group.row else seed, cell


def labelled(column: str, seed: int | None) -> str:
    """What a column is called where it stands for one training of several."""
    return column if seed is None else f"{column}, seed {seed}"
