"""A data set that is there already, as the examples of an arm: no teacher is asked for it.

Formats are those of `tables`, layouts those of `layouts`. All faults are looked for before
anything is made of the file, and what a row says besides its conversation is kept in the example's
``fields``, where `select` finds it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from mini_lima.data.examples import Example, Reject, StepReport
from mini_lima.data.layouts import (
    COLUMNS,
    NEEDS,
    Dialogue,
    Layout,
    Unreadable,
    fitting,
    read_row,
)
from mini_lima.data.steps import Forecast, forecast_by
from mini_lima.errors import UserError, listed
from mini_lima.files.tables import (
    HALF_A_CHARACTER,
    Malformed,
    Row,
    name_unused,
    plain,
    plain_text,
    read_rows,
)

FIRST = 100
"""Rows in which the layout is looked for."""


def _expect_file(**options: Any) -> Forecast:
    """Say what `from_file` will make: the file's examples."""
    return Forecast(examples=from_file(**options).examples or ())


@forecast_by(_expect_file)
def from_file(
    *,
    file: Path,
    layout: Literal["auto", "alpaca", "prompt_completion", "messages", "sharegpt"] = "auto",
    columns: dict[str, str] | None = None,
    system: Literal["keep", "drop"] = "keep",
    unreadable: Literal["refuse", "drop"] = "refuse",
    step_name: str = "file",
) -> StepReport:
    """Make an example of each row of ``file``.

    An example's id is the row's own ``id`` where all rows have one and no two the same, else the
    step's name and the number of the row. Examples that begin with the same question are one task.

    Args:
        file: JSON (a list, or one under ``data``), JSON Lines, CSV or Parquet, by its suffix.
        layout: How a row is laid out (see `layouts`); ``auto`` goes by the columns.
        columns: What the file calls a column of the layout: ``{input: context}``.
        system: ``drop`` leaves system messages out, for a template that takes none.
        unreadable: ``drop`` leaves out and counts the rows that cannot be read.
        step_name: What the arm calls this step.

    Raises:
        UserError: rows that cannot be read, with the place in the file; a file of another kind, or
            one whose layout cannot be told.
    """
    columns = columns or {}
    if unknown := sorted(set(columns) - set(COLUMNS)):
        raise UserError(
            f"columns.{unknown[0]}: no layout has such a column; there are {', '.join(COLUMNS)}"
        )
    rows = read_rows(file)
    first = list(islice(rows, FIRST))
    chosen = _layout(file, first, layout, columns)
    read: list[tuple[Row, Dialogue]] = []
    faults: list[tuple[Row, Malformed]] = []
    for row in chain(first, rows):
        try:
            if isinstance(row.value, Malformed):
                faults.append((row, row.value))
            else:
                read.append((row, read_row(_renamed(row.value, columns), chosen)))
        except Unreadable as fault:
            faults.append((row, fault.malformed))
    if faults and (unreadable == "refuse" or not read):
        raise UserError(_summary(file, len(read) + len(faults), faults, unreadable))
    own_ids = _own_ids([row for row, _ in read], columns.get("id", "id"))
    ids = own_ids or [f"{step_name}.{row.number}" for row, _ in read]
    examples: list[Example] = []
    tasks: dict[tuple[str, str], str] = {}
    for id, (row, dialogue) in zip(ids, read, strict=True):
        *history, (instruction, output) = dialogue.turns
        kept = dialogue.system if system == "keep" else ""
        used = {columns.get(each, each) for each in (*dialogue.used, *(("id",) if own_ids else ()))}
        fields = {plain_text(k): plain(v) for k, v in row.value.items() if k not in used}
        if dialogue.turn_fields:
            fields["turn_fields"] = plain(dialogue.turn_fields)
        if dialogue.system and not kept:
            fields["system"] = dialogue.system
        examples.append(
            Example(
                id=id,
                instruction=instruction,
                output=output,
                input=dialogue.input,
                system=kept,
                history=tuple(history),
                task=tasks.setdefault((kept, dialogue.turns[0][0]), id),
                fields=fields,
            )
        )
    kept = "columns that are no part of a conversation, kept as fields of the examples"
    name_unused(file, [each.fields for each in examples], what=kept)
    rejects = [
        Reject(fault.reason, None, None, _as_written(row, fault), f"{row.place}: {fault.detail}")
        for row, fault in faults
    ]
    figures = {
        "layout": chosen,
        "rows": len(read) + len(faults),
        "ids": "the file's own" if own_ids else "made from the row's number",
        "systems_dropped": sum(bool(d.system) for _, d in read) if system == "drop" else 0,
        "conversations_of_several_turns": sum(bool(each.history) for each in examples),
    }
    asked_for = {step_name: len(read) + len(faults)}
    return StepReport(examples, rejects=rejects, asked_for=asked_for, figures=figures)


def _layout(file: Path, rows: Sequence[Row], asked: str, columns: Mapping[str, str]) -> Layout:
    """Return the layout of ``file`` by its first rows.

    Raises:
        UserError: there is no row, or none or several fit.
    """
    if not rows:
        raise UserError(f"{file}: there is no row in it")
    objects = [row.value for row in rows if isinstance(row.value, Mapping)]
    there = list(dict.fromkeys(key for each in objects for key in each))
    if missing := [each for each in columns.items() if objects and each[1] not in there]:
        (ours, theirs), *_ = missing
        raise UserError(f"{file}: columns.{ours}={theirs}: it has {', '.join(listed(there))}")
    for layout in NEEDS:
        if layout == asked:
            return layout
    found = {layout: None for each in objects for layout in fitting(_renamed(each, columns))}
    if len(found) == 1:
        return next(iter(found))
    if found:
        raise UserError(f"{file}: it may be {' or '.join(found)}: say which with layout=…")
    if not objects:
        told = rows[0].value.detail if isinstance(rows[0].value, Malformed) else "it is no object"
        raise UserError(f"{file}: {rows[0].place}: {told}")
    needs = "; ".join(f"{layout} needs {columns}" for layout, columns in NEEDS.items())
    raise UserError(
        f"{file}: its columns are {', '.join(listed(there))}, and no layout fits ({needs}): name"
        " its columns as columns={output: …}, or say which layout it is with layout=…"
    )


def _renamed(row: Any, columns: Mapping[str, str]) -> Any:
    """Return ``row`` with the columns under the names that the layouts have for them."""
    if not columns or not isinstance(row, Mapping):
        return row
    rest = {key: value for key, value in row.items() if key not in columns.values()}
    return {**rest, **{ours: row[theirs] for ours, theirs in columns.items() if theirs in row}}


def _own_ids(rows: Sequence[Row], column: str) -> list[str] | None:
    """Return the rows' own ids, if every row has one that no other has."""
    values = [row.value.get(column) for row in rows]
    if any(isinstance(each, bool) or not isinstance(each, str | int) for each in values):
        return None
    ids = [str(each) for each in values]
    usable = all(each.strip() and not HALF_A_CHARACTER.search(each) for each in ids)
    return ids if usable and len(set(ids)) == len(ids) else None


def _summary(
    file: Path, rows: int, faults: Sequence[tuple[Row, Malformed]], unreadable: str
) -> str:
    counts = Counter(fault.reason for _, fault in faults)
    reasons = ", ".join(listed([f"{reason} {count}" for reason, count in counts.most_common()], 5))
    ways = ["correct them"]
    if unreadable == "refuse" and len(faults) < rows:
        ways.append("leave them out with unreadable=drop")
    told = listed([f"{file}: {row.place}: {fault.detail}" for row, fault in faults])
    summary = f"{file}: {len(faults)} of {rows} rows cannot be read ({reasons})"
    return "\n".join([f"{summary}: {' or '.join(ways)}", *told])


def _as_written(row: Row, fault: Malformed) -> str:
    text = fault.text or json.dumps(plain(row.value), ensure_ascii=False)
    return plain_text(text)
