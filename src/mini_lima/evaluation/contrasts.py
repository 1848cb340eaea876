"""What a grid of cells was run for: differences between models, with what they are worth.

Three questions, each paired by instruction, for every instruction was put to every cell: does SFT
change its model (each data method against the baseline), does the improved data change more than
the naive, and is that effect another for another model (the interaction). Every question is a sum
of win rates with signs, so one path answers all of them; and all answers form one family, for the
more one asks, the more chance finds.

Within an instruction, verdicts are compared in the same order only. A verdict that failed in one
order for one model would otherwise let position bias pass for a difference.

A cell that was trained with several seeds is the mean over them, and what another seed would change
is in its interval, its p-value and its verdict (`statistics.seeds`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mini_lima.errors import UserError
from mini_lima.evaluation.power import detectable
from mini_lima.evaluation.seeded import Seeds, by_seed, differences, through_seeds
from mini_lima.evaluation.statistics import (
    Verdicts,
    bootstrap_interval,
    holm,
    p_over_seeds,
    sign_flip_p,
    widened,
)

Cell = tuple[str, str]
"""A model's name and its data method, or ``baseline``."""
Row = Mapping[str, Any]
Kind = Literal["sft", "data", "interaction"]

BASELINE, NAIVE, IMPROVED = "baseline", "naive", "improved"


@dataclass(frozen=True)
class Contrast:
    """A difference between cells, in percentage points of win rate.

    Attributes:
        kind: ``sft`` (against the baseline), ``data`` (improved against naive) or
            ``interaction`` (that, between two models).
        name: What minus what.
        annotator: Who judged.
        difference: The mean over instructions; None where no instruction was judged for all.
        low: Of its bootstrap interval over instructions, widened by what seeds add.
        high: Of the same.
        p_value: Of the sign-flip test, on its own; with several seeds, of the interval's ends if
            that is larger.
        p_holm: The same within the family (Holm, 1979).
        n: Instructions judged, in a common order, for every cell involved.
        detectable: The smallest true difference that this design would have found with a
            probability of 80 percent, in this family. See `power.detectable`.
        lowest: The difference if every failed verdict went against it.
        highest: The difference if every failed verdict went for it.
        verdict: ``better``, ``worse`` or ``cannot tell``, from ``p_holm``.
        words: The verdict as a sentence.
        seeds: Training seeds of each cell involved, of the one that has the fewest.
        seed_error: The part of the standard error that comes from seeds; None where all have one,
            and nobody knows what another would change.
    """

    kind: Kind
    name: str
    annotator: str
    difference: float | None
    low: float | None
    high: float | None
    p_value: float
    p_holm: float
    n: int
    detectable: float | None
    lowest: float | None
    highest: float | None
    verdict: Literal["better", "worse", "cannot tell"] = "cannot tell"
    words: str = ""
    seeds: int = 1
    seed_error: float | None = None


def contrasts(
    cells: Mapping[Cell, Sequence[Row]],
    *,
    seed: int,
    confidence: float = 0.95,
    samples: int = 10_000,
) -> list[Contrast]:
    """Compare the cells of a grid.

    Args:
        cells: The rows of annotations.json by (model, method), the baselines among them. What a
            cell lacks, no contrast is made of. Rows of a cell that was trained several times have
            the ``seed`` that they are about.
        seed: Of the bootstrap and of the permutations.
        confidence: Of the intervals; a verdict needs an adjusted p-value below its complement.
        samples: Of the bootstrap and of the permutations.

    Returns:
        Per annotator that judged every cell, a family: SFT against baseline, improved against
        naive, interactions. Feed it what `length.under_longest` makes of the rows, and it says how
        much of each difference length alone explains.

    Raises:
        UserError: the cells were judged on different instructions.
    """
    tables = {cell: [*by_seed(rows).values()] for cell, rows in cells.items()}
    _check_same_instructions(tables)
    judges = [set(table.annotators) for seeds in tables.values() for table in seeds]
    common = set.intersection(*judges) if judges else set()
    return [
        contrast
        for annotator in sorted(common)
        for contrast in _family(
            {cell: [_by(annotator, each) for each in seeds] for cell, seeds in tables.items()},
            annotator,
            seed=seed,
            confidence=confidence,
            samples=samples,
        )
    ]


def _family(
    tables: Mapping[Cell, Seeds], annotator: str, *, seed: int, confidence: float, samples: int
) -> list[Contrast]:
    questions = _questions(list(tables))
    found = []
    for kind, name, signs in questions:
        judged = differences(signs, tables)
        n, mean = len(judged), _mean(judged)
        interval = bootstrap_interval(judged, seed=seed, confidence=confidence, samples=samples)
        error = float(judged.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
        seeds = through_seeds(
            trained=[tables[cell] for cell in signs if cell[1] != BASELINE],
            untrained=[tables[cell] for cell in signs if cell[1] == BASELINE],
        )
        low, high = widened(mean or 0.0, interval, seeds, confidence)
        p_value = sign_flip_p(judged, seed=seed, samples=samples)
        if seeds is not None and mean is not None and n > 1:
            p_value = max(p_value, p_over_seeds(mean, error, n, seeds))
        found.append(
            Contrast(
                kind=kind,
                name=name,
                annotator=annotator,
                difference=_points(mean),
                low=_points(low),
                high=_points(high),
                p_value=p_value,
                p_holm=p_value,
                n=n,
                detectable=_points(
                    detectable(error, confidence=confidence, family=len(questions), seeds=seeds)
                    or None
                ),
                lowest=_points(_mean(differences(signs, tables, failed_as=(0, 1)))),
                highest=_points(_mean(differences(signs, tables, failed_as=(1, 0)))),
                seeds=min((len(tables[c]) for c in signs if c[1] != BASELINE), default=1),
                seed_error=None if seeds is None else _points(seeds.variance**0.5),
            )
        )
    adjusted = holm([contrast.p_value for contrast in found])
    return [_judged(c, p_holm, confidence) for c, p_holm in zip(found, adjusted, strict=True)]


def _questions(cells: Sequence[Cell]) -> list[tuple[Kind, str, dict[Cell, int]]]:
    """List the contrasts that ``cells`` allow: their kind, name and the sign of each cell."""
    models = list(dict.fromkeys(model for model, _ in cells))
    methods = [method for method in dict.fromkeys(m for _, m in cells) if method != BASELINE]
    questions: list[tuple[Kind, str, dict[Cell, int]]] = [
        ("sft", f"{model}: {method} − {BASELINE}", {(model, method): 1, (model, BASELINE): -1})
        for model in models
        for method in methods
    ]
    effects = {model: {(model, IMPROVED): 1, (model, NAIVE): -1} for model in models}
    questions += [
        ("data", f"{model}: {IMPROVED} − {NAIVE}", signs) for model, signs in effects.items()
    ]
    questions += [
        (
            "interaction",
            f"({IMPROVED} − {NAIVE}): {one} − {other}",
            effects[one] | {cell: -sign for cell, sign in effects[other].items()},
        )
        for one, other in combinations(models, 2)
    ]
    return [question for question in questions if question[2].keys() <= set(cells)]


def _judged(contrast: Contrast, p_holm: float, confidence: float) -> Contrast:
    """Put the verdict on ``contrast`` into words."""
    difference = contrast.difference
    if difference is None:
        return replace(contrast, words="cannot tell: no instruction was judged for all of them")
    interval = "" if contrast.low is None else f" [{contrast.low:+.1f}, {contrast.high:+.1f}]"
    figures = f"{difference:+.1f} points{interval}, p {p_holm:.2g} within its family"
    if contrast.seeds > 1:
        figures += f", over {contrast.seeds} seeds"
    elif contrast.seed_error is not None:
        figures += ", with one seed of a cell that is lent the others' spread"
    if difference == 0 or p_holm > 1 - confidence:
        limit = (
            ""
            if contrast.detectable is None
            else f"; this design finds differences from about {contrast.detectable:.1f} points"
        )
        return replace(contrast, p_holm=p_holm, words=f"cannot tell: {figures}{limit}")
    reversible = (contrast.lowest or 0) <= 0 <= (contrast.highest or 0)
    doubt = "; the verdicts that failed could undo it" if reversible else ""
    verdict: Literal["better", "worse"] = "better" if difference > 0 else "worse"
    return replace(contrast, p_holm=p_holm, verdict=verdict, words=f"{verdict}: {figures}{doubt}")


def _by(annotator: str, table: Verdicts) -> Verdicts:
    return table.only(table.annotator == table.annotators.index(annotator))


def _check_same_instructions(tables: Mapping[Cell, Seeds]) -> None:
    judged = [(cell, set(each.instructions)) for cell, seeds in tables.items() for each in seeds]
    for cell, instructions in judged:
        first, others = judged[0]
        if instructions != others:
            raise UserError(
                f"{' '.join(cell)} was judged on {len(instructions)} instructions and "
                f"{' '.join(first)} on {len(others)}, {len(instructions & others)} of them the "
                "same: compare cells of one evaluation set"
            )


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * float(share)
