"""Seed tasks, all checked before anything is asked or paid.

A row is laid out as in Self-Instruct (``instruction`` and ``instances``, perhaps ``id``, ``name`` and
``is_classification``; Wang et al. 2022, file ``seed_tasks.jsonl``) or as in Alpaca (``instruction``,
``output``, perhaps ``input``). What it does not say is made: an id by its place, a name of the first
words of its instruction. Formats are those of `tables`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import MinLen
from typing_extensions import TypedDict  # pydantic asks for it below Python 3.12

from mini_lima.errors import UserError
from mini_lima.files import Text, adapter_of, problems, refuse
from mini_lima.files.tables import (
    HALF_A_CHARACTER,
    Malformed,
    Row,
    name_unused,
    read_any_rows,
)

NEW_TASK = "new_task_"
"""How ids of tasks begin that the teacher thought of; a seed task may not have such an id."""
NAMED_BY = 5
"""Words of its instruction that name a task without a name."""


@dataclass(frozen=True)
class Instance:
    """One input-output pair of a task; ``input`` is empty when the instruction stands alone."""

    input: str
    output: Text


class GivenInstance(TypedDict):
    """An instance as a row has it."""

    input: NotRequired[str | None]
    output: Text


class AlpacaRow(GivenInstance):
    """A row with one instance, which is no list."""

    id: NotRequired[Text | int | None]
    name: NotRequired[Text | None]
    instruction: Text
    is_classification: NotRequired[bool | None]


class SelfInstructRow(TypedDict):
    """A row of Self-Instruct's file."""

    id: NotRequired[Text | int | None]
    name: NotRequired[Text | None]
    instruction: Text
    instances: Annotated[list[GivenInstance], MinLen(1)]
    is_classification: NotRequired[bool | None]


@dataclass(frozen=True)
class Task:
    """An instruction with its instances. Tasks are keyed by ``id``: names may occur twice."""

    id: str
    name: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool | None = None
    """None: nobody says."""
    request: str | None = None
    """Key of the request whose reply the task is from; None for a seed task."""


def read_seeds(path: Path) -> list[Task]:
    """Return the tasks of ``path`` in file order.

    Raises:
        UserError: names place and field of the faults; nothing is returned then.
    """
    rows = list(read_any_rows(path))
    if not rows:
        raise UserError(f"{path}: no seed task in it")
    faults: list[str] = []
    read: list[tuple[str, Mapping[str, Any]]] = []
    for row in rows:
        place = f"{path}: {row.place}"
        found = _read(row)
        if isinstance(found, dict):
            read.append((place, found))
        else:
            faults += [f"{place}: {fault}" for fault in found]
    named = [(place, str(each["id"])) for place, each in read if each.get("id") is not None]
    taken = {id: place for place, id in reversed(named)}
    tasks: list[Task] = []
    for place, fields in read:
        task = _task(fields, len(tasks), taken)
        if (first := taken.setdefault(task.id, place)) != place:
            faults.append(f"{place}: id: {task.id!r} is also that of {first}")
        if task.id.startswith(NEW_TASK):
            faults.append(f"{place}: id: must not begin with {NEW_TASK!r}, as new tasks' ids do")
        tasks.append(task)
    refuse(path, faults)
    given = [row.value for row in rows]
    for layout in (SelfInstructRow, AlpacaRow):
        laid_out = [each for each in given if _layout(each) is layout]
        name_unused(path, laid_out, layout.__annotations__)
    inner = [each for row in given for each in row.get("instances", ())]
    what = "fields of instances that nothing reads"
    name_unused(path, inner, GivenInstance.__annotations__, what=what)
    return tasks


def _read(row: Row) -> dict[str, Any] | list[str]:
    """Return the fields of ``row``, or what is wrong with them."""
    from pydantic import ValidationError

    given = row.value
    if isinstance(given, Malformed):
        return [given.detail]
    if not isinstance(given, dict):
        return [f"an object was expected, found {given!r:.40}"]
    if "instances" in given and "output" in given:
        return ["output: the row has instances too: leave one of them out"]
    if HALF_A_CHARACTER.search(json.dumps(given, ensure_ascii=False, default=str)):
        return ["half of a character: an escape \\ud800 to \\udfff that stands alone"]
    layout: Any = _layout(given)
    try:
        found: dict[str, Any] = adapter_of(layout).validate_python(given, strict=True)
    except ValidationError as error:
        return problems(error)
    return found


def _layout(given: Mapping[str, Any]) -> Any:
    return AlpacaRow if "output" in given else SelfInstructRow


def _task(found: Mapping[str, Any], number: int, taken: Mapping[str, str]) -> Task:
    id = found.get("id")
    if id is None:
        id = next(each for each in _made_ids(number) if each not in taken)
    words = re.findall(r"\w+", found["instruction"].lower())
    instances = found.get("instances") or [found]
    return Task(
        id=str(id),
        name=found.get("name") or "_".join(words[:NAMED_BY]) or str(id),
        instruction=found["instruction"],
        instances=tuple(Instance(each.get("input") or "", each["output"]) for each in instances),
        is_classification=found.get("is_classification"),
    )


def _made_ids(number: int) -> Iterator[str]:
    yield f"seed_task_{number}"
    for again in count(1):
        yield f"seed_task_{number}_{again}"
