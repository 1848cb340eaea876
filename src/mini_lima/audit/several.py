"""Several runs of the same outputs: one judge, or several that share a name?

If one judge gave all verdicts, an instruction's verdicts could have fallen to any of the runs, and
their win rates differ by no more than that judge's own noise. `homogeneity_p` exchanges them within
each instruction and sees how often chance spreads the runs as far. A verdict that a run took over
from another, out of the library's cache, is no second opinion: such copies are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mini_lima.audit.files import text_of
from mini_lima.audit.folder import Folder
from mini_lima.errors import UserError, listed
from mini_lima.results import WinRate
from mini_lima.statistics import holm, homogeneity_p, sign_flip_p, tabulate, win_rate

Asked = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Pair:
    """Two runs: their difference in percentage points, and how often their verdicts differ.

    ``p_value`` is of no difference, adjusted for all pairs (Holm); ``flips`` a percentage of the
    instructions that both judged, ``n_copied`` of which have the very same verdict, with its time.
    """

    runs: tuple[str, str]
    difference: float
    p_value: float
    flips: float
    n_copied: int


@dataclass(frozen=True)
class Spread:
    """How far runs of the same outputs spread, in percent.

    Attributes:
        runs: Their names.
        annotators: Who judged each, a pool's members joined by commas.
        win_rates: Of each, over all that it judged.
        n_common: Instructions with a verdict in every run; all below is over these.
        observed: Standard deviation of the runs' win rates.
        expected: The same, were they one judge's: from how verdicts differ within instructions.
        p_value: Of a spread like that from one judge.
        fits_one_judge: Whether ``p_value`` is above 1 less the confidence.
        pairs: The runs in pairs.
    """

    runs: list[str]
    annotators: list[str]
    win_rates: list[WinRate]
    n_common: int
    observed: float
    expected: float
    p_value: float
    fits_one_judge: bool
    pairs: list[Pair]


def spread(
    folders: Sequence[Folder],
    *,
    seed: int = 0,
    confidence: float = 0.95,
    samples: int = 10_000,
) -> Spread:
    """Compare runs of the same outputs, paired by instruction.

    Raises:
        UserError: the runs have no outputs in common, or no two instructions.
    """
    names = [text_of(folder.path) for folder in folders]
    verdicts = [_by_question(folder) for folder in folders]
    common = [asked for asked in verdicts[0] if all(asked in run for run in verdicts)]
    fewest = min(map(len, verdicts))
    if len(common) < 2 or 2 * len(common) < fewest:
        raise UserError(
            f"{', '.join(listed(names, 5))} have {len(common)} verdicts on the same outputs, of "
            f"{fewest} at least: only runs on the same outputs can be compared"
        )
    wins = np.array([[np.mean([w for w, _ in run[a]]) for run in verdicts] for a in common])
    within = wins.var(axis=1, ddof=1).mean()
    p_value = homogeneity_p(wins, seed=seed, samples=samples)
    pairs = list(combinations(range(len(folders)), 2))
    adjusted = holm(
        [sign_flip_p(wins[:, a] - wins[:, b], seed=seed, samples=samples) for a, b in pairs]
    )
    return Spread(
        runs=names,
        annotators=[
            ", ".join(listed(sorted({row.annotator for row in f.rows}), 5)) for f in folders
        ],
        win_rates=[
            win_rate(tabulate(folder.rows), seed=seed, confidence=confidence, samples=samples)
            for folder in folders
        ],
        n_common=len(common),
        observed=100 * float(wins.mean(axis=0).std(ddof=1)),
        expected=100 * float(np.sqrt(within / len(common))),
        p_value=p_value,
        fits_one_judge=p_value > 1 - confidence,
        pairs=[
            Pair(
                runs=(names[a], names[b]),
                difference=100 * float((wins[:, a] - wins[:, b]).mean()),
                p_value=p,
                flips=100 * float((np.sign(wins[:, a] - 0.5) != np.sign(wins[:, b] - 0.5)).mean()),
                n_copied=sum(_is_copy(verdicts[a][q], verdicts[b][q]) for q in common),
            )
            for (a, b), p in zip(pairs, adjusted, strict=True)
        ],
    )


def _by_question(folder: Folder) -> dict[Asked, list[tuple[float, Any]]]:
    """Return each question's verdicts that could be read, with what marks them as a run's own."""
    found: dict[Asked, list[tuple[float, Any]]] = {}
    for row in folder.rows:
        if row.preference is not None:
            asked = (row.instruction, row.output_1, row.output_2)
            mark = (row.moment, row.date, str(row.raw_completion))
            found.setdefault(asked, []).append((row.preference - 1, mark))
    return found


def _is_copy(one: list[tuple[float, Any]], other: list[tuple[float, Any]]) -> bool:
    """Whether both runs have the very same verdict: times to ten digits do not repeat."""
    return any(mark[0] is not None and (win, mark) in other for win, mark in one)
