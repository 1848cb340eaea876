"""What a grid of cells was run for: differences between models, with what they are worth.

Each question is put to every measure, a judge's win rate or a metric, and paired by instruction,
for every instruction was put to every cell: does SFT change its model (each arm against the
baseline), does one arm's data change more than another's, and is that effect another for another
model (the interaction). Every question is a sum of cells with signs, so one path answers all of
them; and the answers in one measure form one family, for the more one asks, the more chance finds.

Within an instruction, verdicts are compared in the same order only. A verdict that failed in one
order for one model would otherwise let position bias pass for a difference. A metric has no order.

A cell that was trained with several seeds is the mean over them, and what another seed would change
is in its interval, its p-value and its verdict (`statistics.cells`). Cells that were not measured
in the same way are not compared, and the reason is kept.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Unpack

import numpy as np

from mini_lima.evaluation.declared_contrasts import Declared, difference
from mini_lima.evaluation.length import under_longest
from mini_lima.evaluation.measuring import Scores, Unit
from mini_lima.evaluation.pairs import Annotation
from mini_lima.results import BASELINE, LONGEST, Better, Contrast, Found, LeftOut, Verdict
from mini_lima.statistics import (
    Drawn,
    Seeds,
    detectable,
    differences,
    estimate,
    holm,
    p_over_seeds,
    scale_of,
    scaled,
    sign_flip_p,
    tabulate,
    tabulate_scores,
)

Cell = tuple[str, str]
"""A row of the table, and its arm or ``baseline``."""
Settings = Mapping[str, object]


@dataclass(frozen=True)
class Measure:
    """One measure of the cells of a comparison.

    Attributes:
        name: As the table has it.
        unit: Of its means; percentages are shares in the tables.
        better: Which direction is better, if one is.
        cells: What it says of each cell, for each of its training seeds.
        judged: Whether it is a judge's win rate.
        by_length: What the control annotator `LONGEST` says of the same answers.
        settings: By cell, all that changes what is measured and is no matter of the cell itself.
        instead: By row, why this measure does not know it.
    """

    name: str
    unit: str
    better: Better | None
    cells: Mapping[Cell, Seeds]
    judged: bool = False
    by_length: Mapping[Cell, Seeds] = field(default_factory=dict)
    settings: Mapping[Cell, Settings] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question(Declared):
    """A contrast before it is made: the row that it is about, if it is about one, and its cells."""

    row: str | None
    signs: Mapping[Cell, int]


def of_verdicts(
    name: str,
    cells: Mapping[Cell, Sequence[Sequence[Annotation]]],
    *,
    annotator: str = "",
    settings: Mapping[Cell, Settings] | None = None,
    instead: Mapping[str, str] | None = None,
) -> Measure:
    """Return a judge's win rate as a measure.

    Args:
        name: As the table has it.
        cells: Its verdicts on the outputs of each training seed.
        annotator: Its own name, by which the control of length is known.
        settings: As in `Measure`.
        instead: As in `Measure`.
    """
    by_length: dict[Cell, Seeds] = {}
    texts = (row.output_2 for seeds in cells.values() for rows in seeds for row in rows)
    if annotator != LONGEST and None not in texts:
        by_length = {c: [tabulate(under_longest(r)) for r in seeds] for c, seeds in cells.items()}
    return Measure(
        name,
        "percent",
        "higher",
        {cell: [tabulate(rows) for rows in seeds] for cell, seeds in cells.items()},
        judged=True,
        by_length=by_length,
        settings=settings or {},
        instead=instead or {},
    )


def of_scores(
    name: str,
    metric: Unit,
    cells: Mapping[Cell, Sequence[Sequence[Scores]]],
    *,
    settings: Mapping[Cell, Settings] | None = None,
) -> Measure:
    """Return a metric as a measure, from the scores of each training seed; see `of_verdicts`."""
    tables = {
        cell: [tabulate_scores(rows, name) for rows in seeds] for cell, seeds in cells.items()
    }
    return Measure(name, metric.unit, metric.better, tables, settings=settings or {})


def questions(
    cells: Sequence[Cell],
    pairs: Sequence[tuple[str, str]] = (),
    declared: Sequence[Declared] = (),
) -> list[Question]:
    """List what is asked of ``cells``.

    Args:
        cells: That are there, in the order of the table.
        pairs: Arms that differ in one step: the one that has it first.
        declared: What was asked for in so many words; then that is all that is asked.

    Returns:
        Without a declaration each arm against its baseline, each of the pairs, and how their
        effects differ between rows. Only what all cells are there for.
    """
    rows = list(dict.fromkeys(row for row, _ in cells))
    arms = [arm for arm in dict.fromkeys(arm for _, arm in cells) if arm != BASELINE]
    if declared:
        asked = [_within(row, each) for each in declared for row in rows]
    else:
        effects = [difference(*pair) for pair in pairs]
        asked = [_within(row, difference(arm, BASELINE)) for row in rows for arm in arms]
        asked += [_within(row, effect) for effect in effects for row in rows]
        asked += [
            _between(one, other, effect)
            for effect in effects
            for one, other in combinations(rows, 2)
        ]
    return [each for each in asked if each.signs.keys() <= set(cells)]


def _within(row: str, asked: Declared) -> Question:
    signs = {(row, arm): sign for arm, sign in asked.terms.items()}
    return Question(asked.kind, f"{row}: {asked.name}", asked.terms, row, signs)


def _between(one: str, other: str, effect: Declared) -> Question:
    signs = {(one, arm): sign for arm, sign in effect.terms.items()}
    signs |= {(other, arm): -sign for arm, sign in effect.terms.items()}
    name = f"({effect.name}): {one} − {other}"
    return Question("interaction", name, effect.terms, None, signs)


def contrasts(
    measures: Sequence[Measure],
    asked: Sequence[Question],
    *,
    hits: Mapping[str, Collection[str]] | None = None,
    **drawn: Unpack[Drawn],
) -> Found:
    """Compare the cells of a grid.

    Args:
        measures: What is known of the cells.
        asked: See `questions`.
        hits: By arm, the instructions that are in its training data: contrasts that involve it are
            made again without them.
        **drawn: Of the bootstrap and of the permutations; a verdict needs an adjusted p-value
            below the complement of the confidence.

    Returns:
        Per measure a family of contrasts, and which of them cannot be made, with the reason.
    """
    made: list[Contrast] = []
    left_out = []
    for measure in measures:
        if not any(table.win.size for seeds in measure.cells.values() for table in seeds):
            continue  # a metric that applies to none of the instructions
        reasons = [_incomparable(measure, question) for question in asked]
        left_out += [
            LeftOut(question.name, measure.name, reason)
            for question, reason in zip(asked, reasons, strict=True)
            if reason
        ]
        family = [q for q, reason in zip(asked, reasons, strict=True) if not reason]
        alone = [_contrast(measure, q, len(family), hits or {}, drawn) for q in family]
        adjusted = holm([contrast.p_value for contrast in alone])
        made += [
            _judged(contrast, p_holm, measure.better, drawn.get("confidence", 0.95))
            for contrast, p_holm in zip(alone, adjusted, strict=True)
        ]
    return Found(made, left_out)


def _contrast(
    measure: Measure,
    question: Question,
    family: int,
    hits: Mapping[str, Collection[str]],
    drawn: Drawn,
) -> Contrast:
    """Answer ``question``, one of ``family``, on its own."""
    tables, signs, scale = measure.cells, question.signs, scale_of(measure.unit)
    trained = [cell for cell in signs if cell[1] != BASELINE]
    found = estimate(signs, tables, trained=trained, **drawn)
    p_value = sign_flip_p(found.values, seed=drawn["seed"], samples=drawn.get("samples", 10_000))
    if found.seeds is not None and found.mean is not None and len(found.values) > 1:
        own = p_over_seeds(found.mean, found.error, len(found.values), found.seeds)
        p_value = max(p_value, own)
    finds = detectable(
        found.error,
        confidence=drawn.get("confidence", 0.95),
        family=family,
        seeds=found.seeds,
    )
    lowest = highest = None
    if measure.unit == "percent":
        lowest = float(differences(signs, tables, failed_as=(0, 1)).mean())
        highest = float(differences(signs, tables, failed_as=(1, 0)).mean())
    by_length = None
    if signs.keys() <= measure.by_length.keys():
        by_length = estimate(signs, measure.by_length, trained=trained, **drawn).told(scale)
    without_hits = None
    if clean := _without_hits(measure, question, hits):
        without_hits = estimate(signs, clean, trained=trained, **drawn).told(scale)
    told = found.told(scale)
    seed_error = None if found.seeds is None else float(np.sqrt(found.seeds.variance))
    return Contrast(
        kind=question.kind,
        name=question.name,
        measure=measure.name,
        unit="points" if measure.unit == "percent" else measure.unit,
        row=question.row,
        terms=dict(question.terms),
        difference=told.difference,
        low=told.low,
        high=told.high,
        p_value=p_value,
        p_holm=p_value,
        family=family,
        n=told.n,
        detectable=scaled(finds or None, scale),
        lowest=scaled(lowest, scale),
        highest=scaled(highest, scale),
        by_length=by_length,
        without_hits=without_hits,
        seeds=min((len(tables[cell]) for cell in trained), default=1),
        seed_error=scaled(seed_error, scale),
        judged=measure.judged,
    )


def _without_hits(
    measure: Measure, question: Question, hits: Mapping[str, Collection[str]]
) -> dict[Cell, Seeds] | None:
    """Return the cells without what the arms were trained on, None if that is not in them."""
    found = {text for arm in question.terms for text in hits.get(arm, ())}
    first = measure.cells[next(iter(question.signs))][0]
    if not found & set(first.instructions):
        return None
    tables: dict[Cell, Seeds] = {}
    for cell in question.signs:
        kept = []
        for each in measure.cells[cell]:
            clean = np.array([text not in found for text in each.instructions], dtype=np.bool_)
            kept.append(each.only(clean[each.instruction]))
        tables[cell] = kept
    return tables


def _incomparable(measure: Measure, question: Question) -> str | None:
    """Return why ``question`` cannot be asked of ``measure``, from its own cells alone."""
    lacking = [cell for cell in question.signs if cell not in measure.cells]
    if lacking:
        row, arm = lacking[0]
        return f"{row} {arm} {measure.instead.get(row, 'was not measured by it')}"
    said = [(cell, measure.settings.get(cell, {})) for cell in question.signs]
    differing = {
        key: values
        for key in dict.fromkeys(key for _, settings in said for key in settings)
        if len(values := dict.fromkeys(str(s.get(key, "none")) for _, s in said)) > 1
    }
    if differing:
        told = "; ".join(f"{key}: {' and '.join(values)}" for key, values in differing.items())
        return f"measured under other settings ({told})"
    if reason := next(_other_instructions(measure, question), None):
        return reason
    if not differences(question.signs, measure.cells).size:
        return "no instruction was measured for all of them"
    return None


def _other_instructions(measure: Measure, question: Question) -> Iterator[str]:
    sets = [(cell, set(t.instructions)) for cell in question.signs for t in measure.cells[cell]]
    first, others = sets[0]
    for cell, own in sets[1:]:
        if own != others:
            yield (
                f"{' '.join(cell)} was asked {len(own)} instructions and {' '.join(first)}"
                f" {len(others)}, {len(own & others)} of them the same"
            )


def _judged(
    contrast: Contrast, p_holm: float, better: Better | None, confidence: float
) -> Contrast:
    """Put the verdict on ``contrast`` into words."""
    difference, unit = contrast.difference, contrast.unit
    assert difference is not None, "what nothing was measured for is left out"
    interval = "" if contrast.low is None else f" [{contrast.low:+.1f}, {contrast.high:+.1f}]"
    figures = f"{difference:+.1f} {unit}{interval}, p {p_holm:.2g} within its family"
    if contrast.seeds > 1:
        figures += f", over {contrast.seeds} seeds"
    elif contrast.seed_error is not None:
        figures += ", with one seed of a cell that is lent the others' spread"
    if difference == 0 or p_holm > 1 - confidence:
        limit = (
            ""
            if contrast.detectable is None
            else f"; this design finds differences from about {contrast.detectable:.1f} {unit}"
        )
        return replace(contrast, p_holm=p_holm, words=f"cannot tell: {figures}{limit}")
    reversible = contrast.lowest is not None and contrast.lowest <= 0 <= (contrast.highest or 0)
    doubt = "; what failed could undo it" if reversible else ""
    direction: Better = "higher" if difference > 0 else "lower"
    verdict: Verdict = direction
    if better is not None:
        verdict = "better" if direction == better else "worse"
    return replace(contrast, p_holm=p_holm, verdict=verdict, words=f"{verdict}: {figures}{doubt}")
