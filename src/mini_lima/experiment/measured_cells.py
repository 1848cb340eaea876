"""What was measured of the cells of a sweep: verdicts and scores, read from the store by measure.

A measure is known by its name, so names are made to tell first: two judges are one only if all of
what they are is the same.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.errors import UserError
from mini_lima.evaluation.measuring import read_metrics, read_scores
from mini_lima.evaluation.pairs import read_annotations
from mini_lima.report.groups import Group, groups_of
from mini_lima.results import BASELINE, CellRecord, Judgement, Result, Which
from mini_lima.store import contents

if TYPE_CHECKING:
    from mini_lima.evaluation.contrasts import Cell, Measure
    from mini_lima.evaluation.measuring import Unit

Rows = list[Any]
"""Verdicts, or scores."""
HOW_SHOWN = ("bootstrap_samples", "confidence", "most_failed")
"""Settings that change no verdict and no answer, but how sure one says that one is."""
LONGEST_VALUE = 16
"""Characters of what tells two judges of one name apart; of a hash that is enough."""


def with_distinct_judges(cells: Sequence[CellRecord]) -> list[CellRecord]:
    """Give different judges different names, wherever two of ``cells`` have one name for them."""
    known: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        for judge in cell.result.judges if cell.result else ():
            if judge.sft.judge not in known[judge.name]:
                known[judge.name].append(judge.sft.judge)

    def name_of(judge: Judgement) -> str:
        if len(known[judge.name]) == 1:
            return judge.name
        flat = [_flat(each) for each in known[judge.name]]
        own = _flat(judge.sft.judge)
        telling = [k for k in own if len({each.get(k) for each in flat}) > 1]
        told = [f"{key.rpartition('.')[2]}={own[key]:.{LONGEST_VALUE}}" for key in telling]
        return ", ".join([judge.name, *told])

    return [
        cell if cell.result is None else replace(cell, result=_renamed(cell.result, name_of))
        for cell in cells
    ]


def _flat(identity: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in identity.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _renamed(result: Result, name_of: Callable[[Judgement], str]) -> Result:
    judges = [replace(judge, name=name_of(judge)) for judge in result.judges]
    new = {old.measure: j.measure for old, j in zip(result.judges, judges, strict=True)}
    return replace(
        result,
        judges=judges,
        measurements=[
            replace(m, measure=new.get(m.measure, m.measure)) for m in result.measurements
        ],
        differences={new.get(name, name): d for name, d in result.differences.items()},
    )


@dataclass(frozen=True)
class _Source:
    """A measure as it is collected from the cells: rows of verdicts or scores."""

    rows: "dict[Cell, list[Rows]]"
    settings: "dict[Cell, dict[str, object]]"
    metric: "Unit | None" = None
    annotator: str = ""


def measures_of(cells: Sequence[CellRecord]) -> "tuple[list[Measure], list[str]]":
    """Read from the store what is known of ``cells``.

    Returns:
        The measures, judges first, and a line for each stage that is damaged and passed over.
    """
    from mini_lima.evaluation.contrasts import of_scores, of_verdicts

    sources: dict[str, _Source] = {}
    notes: dict[str, None] = {}
    groups = groups_of(cells)
    for group in groups:
        for which, arm in _places(group):
            for name, source, rows, settings in _measured(group, which, notes):
                own = sources.setdefault(name, source)
                if (group.row, arm) not in own.rows and rows:
                    own.rows[group.row, arm] = rows
                    own.settings[group.row, arm] = settings
    judged_by: dict[str, str] = {}
    for group in groups:
        for cell in group.finished.values():
            names = [judge.name for judge in cell.result.judges] if cell.result else []
            judged_by[group.row] = f"was judged by {' and '.join(names) or 'nobody'}"
    measures = []
    for name, source in sources.items():
        if not source.rows:
            continue
        if source.metric is None:
            measures.append(
                of_verdicts(
                    name,
                    source.rows,
                    annotator=source.annotator,
                    settings=source.settings,
                    instead=judged_by,
                )
            )
        else:
            measures.append(of_scores(name, source.metric, source.rows, settings=source.settings))
    return sorted(measures, key=lambda measure: not measure.judged), list(notes)


def _places(group: Group) -> "Iterator[tuple[Which, str]]":
    yield "baseline", BASELINE
    yield "sft", group.arm


def _measured(
    group: Group, which: Which, notes: dict[str, None]
) -> "Iterator[tuple[str, _Source, list[Rows], dict[str, object]]]":
    """Yield what the cells of ``group`` were measured by, with the rows of each of its seeds.

    Seeds that share their outputs, as all do of the baseline, are one: what is said of the same
    answers has no seed. ``notes`` receives a line for each stage that is damaged.
    """
    finished = [(cell, cell.result) for cell in group.finished.values() if cell.result is not None]
    by_name: dict[str, dict[str, Rows]] = defaultdict(dict)
    about: dict[str, tuple[_Source, dict[str, object]]] = {}
    for cell, result in finished:
        recipe = {
            k: v for k, v in (cell.recipe or {}).items() if k.rpartition(".")[2] not in HOW_SHOWN
        }
        of_answers = {k: v for k, v in recipe.items() if k.startswith("evaluation.")}
        for judge in result.judges:
            if judge.key not in cell.annotations:
                continue
            folder = getattr(cell.annotations[judge.key], which)
            own = {
                key.removeprefix(f"{judge.key}."): value
                for key, value in recipe.items()
                if key.startswith(f"{judge.key}.")
            }
            source = _Source({}, {}, annotator=getattr(judge, which).annotator)
            about[judge.measure] = source, {**of_answers, **own}
            with _noted(notes):
                by_name[judge.measure].setdefault(folder, _verdicts(Path(folder)))
        if cell.scores is None:
            continue
        folder = getattr(cell.scores, which)
        with _noted(notes):
            rows, metrics = _scores(Path(folder))
            for name, metric in metrics.items():
                own = {
                    key: value
                    for key, value in recipe.items()
                    if key.startswith("metrics.") and name in key.split(".")
                }
                about[name] = _Source({}, {}, metric), {**of_answers, **own}
                by_name[name].setdefault(folder, rows)
    for name, folders in by_name.items():
        yield name, about[name][0], [rows for rows in folders.values() if rows], about[name][1]


@contextmanager
def _noted(notes: dict[str, None]) -> Iterator[None]:
    """Put what cannot be read onto ``notes``, and go on."""
    try:
        yield
    except OSError as error:
        notes[f"Passed over: {error.filename}: cannot be read: {error.strerror}."] = None
    except UserError as error:
        notes[f"Passed over: {error}."] = None


def _verdicts(folder: Path) -> Rows:
    """The verdicts in ``folder``, if it is still in the store."""
    if not folder.exists():
        return []
    contents.check(folder)
    return list(read_annotations(folder))


def _scores(folder: Path) -> "tuple[Rows, dict[str, Unit]]":
    """The scores in ``folder`` with their metrics, if it is still in the store."""
    if not folder.exists():
        return [], {}
    contents.check(folder)
    return list(read_scores(folder)), read_metrics(folder)
