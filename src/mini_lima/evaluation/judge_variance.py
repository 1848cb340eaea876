"""How noisy a judge is: what it takes to say what a design could find.

Either from AlpacaEval's own measurements of its annotators, which the library ships, or measured on
an earlier run. What a source cannot tell is set so that a design never looks better than it is.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mini_lima.errors import UserError


@dataclass(frozen=True)
class Noise:
    """Variance of the difference between two models' verdicts, wins counting 1 and losses 0.

    Attributes:
        instructions: Between instructions: what no asking twice can remove.
        orders: Through who stands first, where only one order is asked.
        repeats: Of one asking.
        source: Where the figures are from.
    """

    instructions: float
    orders: float
    repeats: float
    source: str


def noise_of_annotator(annotator: str, win_rate: float) -> Noise:
    """Return the noise of one of AlpacaEval's annotators, from the table that the library ships.

    Its "Variance" is how often, in percent, one annotation differs from the majority of the three
    others that the annotator gave on the same pair, each in an order drawn anew (Dubois et al.,
    AlpacaFarm, 2023; 648 pairs, half of them wins). Taken as how often two verdicts on a pair
    differ, it is twice the variance within a pair, out of a quarter in all; the same share is
    assumed at other win rates. The table cannot tell orders from repeats: all of it counts as
    repeats, which is never too optimistic. Two models are taken to be independent.

    Args:
        annotator: Its name.
        win_rate: Expected, in percent.

    Raises:
        UserError: the table has no such annotator, or a win rate at which nothing varies.
    """
    if not 0 < win_rate < 100:
        raise UserError(f"a win rate between 0 and 100 percent is needed, found {win_rate:g}")
    within = _variance_within(annotator) / (100 * 2 * 0.25)
    total = win_rate / 100 * (1 - win_rate / 100)
    return Noise(
        instructions=2 * total * (1 - within),
        orders=0.0,
        repeats=2 * total * within,
        source=f"{annotator} in AlpacaEval's table of annotators, at a win rate of {win_rate:g}%",
    )


def noise_of_folders(paths: Sequence[Path]) -> Noise:
    """Return the noise measured on earlier verdicts by one annotator.

    What was not measured, since nothing was asked twice or in both orders, is within the part of
    the instructions, as if asking again gained nothing: never too optimistic.

    Args:
        paths: A result folder, and a second model to be independent of the first and as noisy; or
            two, of two models on the same instructions.

    Raises:
        UserError: other folders than that.
    """
    from mini_lima.audit.folder import read_folder
    from mini_lima.audit.order import find_order
    from mini_lima.statistics import split_variance, tabulate

    if len(paths) > 2:
        raise UserError(f"noise is measured on one folder or on two, not on {len(paths)}")
    tables = []
    for path in paths:
        folder = read_folder(path)
        _, firsts = find_order(folder.rows, folder.swapped)
        rows = [{**r, "model_first": f} for r, f in zip(folder.rows, firsts, strict=True)]
        tables.append(tabulate(rows))
        if len(tables[-1].annotators) > 1:
            raise UserError(f"{path} has several annotators, each with a noise of its own")
    split = split_variance(*tables)
    if split.instructions is None:
        raise UserError(
            f"{', '.join(map(str, paths))}: at least two instructions with a verdict for every "
            "model are needed to measure noise"
        )
    models = 2 if len(paths) == 1 else 1
    unknown = [
        name
        for name, part in (("orders", split.orders), ("repeats", split.repeats))
        if part is None
    ]
    return Noise(
        instructions=models * split.instructions,
        orders=models * (split.orders or 0.0),
        repeats=models * (split.repeats or 0.0),
        source=f"measured on {split.n} instructions"
        + (f"; not measured: {', '.join(unknown)}" if unknown else ""),
    )


def _variance_within(annotator: str) -> float:
    """Return the table's "Variance" of ``annotator``, in percent."""
    library = find_spec("alpaca_eval")
    if library is None or library.origin is None:
        raise UserError("alpaca_eval is not installed: install the project's requirements again")
    path = Path(library.origin).parent / "leaderboards/evaluators/evaluators_leaderboard.csv"
    with path.open(encoding="utf-8", newline="") as file:
        table = {row[""]: row["Variance"] for row in csv.DictReader(file)}
    known = {name: float(variance) for name, variance in table.items() if variance}
    if annotator not in known:
        raise UserError(
            f"AlpacaEval's table has no variance of an annotator {annotator!r}: choose one of "
            f"{', '.join(known)}, or measure it on an earlier result folder"
        )
    return known[annotator]
