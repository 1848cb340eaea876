"""Seed tasks in the self-instruct JSONL schema, all checked before anything is asked or paid.

Source of the schema: Wang et al. 2022, *Self-Instruct*, file ``seed_tasks.jsonl``.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError

NEW_TASK = "new_task_"
"""How ids of tasks begin that the teacher thought of; a seed task may not have such an id."""


@dataclass(frozen=True)
class Instance:
    """One input-output pair of a task; ``input`` is empty when the instruction stands alone."""

    input: str
    output: str


@dataclass(frozen=True)
class Task:
    """An instruction with its instances. Tasks are keyed by ``id``: names may occur twice."""

    id: str
    name: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool | None = None
    """None: the teacher made the task, and does not say."""
    request: str | None = None
    """Key of the request whose reply the task is from; None for a seed task."""


def read_seeds(path: Path) -> list[Task]:
    """Return the tasks of ``path`` in file order.

    Raises:
        UserError: names every fault of every line; nothing is returned then.
    """
    try:
        # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"seed tasks cannot be read: {path}: it is not a text in UTF-8") from None
    except OSError as error:
        raise UserError(f"seed tasks cannot be read: {path}: {error.strerror}") from None
    tasks: list[Task] = []
    faults: list[str] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, found = _row(line)
        key = row.get("id") if isinstance(row, dict) else None
        if isinstance(key, str) and (first := line_of.setdefault(key, number)) != number:
            found.append(f"id {key!r} is also on line {first}")
        faults += [f"{path}:{number}: {fault}" for fault in found]
        if not found:
            tasks.append(_task(row))
    if not tasks and not faults:
        faults.append(f"{path}: no seed task in it")
    if faults:
        told = "\n".join(faults)
        raise UserError(f"seed tasks are malformed, correct them and start again:\n{told}")
    return tasks


def _row(line: str) -> tuple[Any, list[str]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, [f"not JSON: {error}"]
    return row, list(_faults(row))


def _faults(row: Any) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"expected a JSON object, found {type(row).__name__}"
        return
    for key in ("id", "name", "instruction"):
        yield from _text_faults(row, key)
    if str(row.get("id")).startswith(NEW_TASK):
        yield f"'id' must not begin with {NEW_TASK!r}, as the ids of the teacher's tasks do"
    if not isinstance(row.get("is_classification"), bool):
        yield "'is_classification' must be true or false"
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances:
        yield "'instances' must be a list with at least one input-output object"
        return
    for number, instance in enumerate(instances, start=1):
        if isinstance(instance, dict):
            found = [*_text_faults(instance, "input"), *_text_faults(instance, "output")]
        else:
            found = [f"expected an object with 'input' and 'output', found {instance!r:.40}"]
        yield from (f"instance {number}: {fault}" for fault in found)


def _text_faults(row: dict[str, Any], key: str) -> Iterator[str]:
    value = row.get(key)
    if not isinstance(value, str):
        yield f"{key!r} must be a string, found {type(value).__name__ if key in row else 'nothing'}"
    elif not value.strip() and key != "input":
        yield f"{key!r} is empty"
    elif any("\ud800" <= character <= "\udfff" for character in value):
        yield f"{key!r} holds half of a character: an escape \\ud800 to \\udfff that stands alone"


def _task(row: dict[str, Any]) -> Task:
    return Task(
        id=row["id"],
        name=row["name"],
        instruction=row["instruction"],
        instances=tuple(Instance(each["input"], each["output"]) for each in row["instances"]),
        is_classification=row["is_classification"],
    )
