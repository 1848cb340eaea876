"""Seed tasks in the self-instruct JSONL schema, checked completely before anything is asked or paid.

Source of the schema: Wang et al. 2022, *Self-Instruct*, file ``seed_tasks.jsonl``.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError


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


def read_seeds(path: Path) -> list[Task]:
    """Return the tasks of ``path`` in file order.

    Raises:
        UserError: names every faulty line and its fault; nothing is returned then.
    """
    tasks: list[Task] = []
    faults: list[str] = []
    line_of: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"seed tasks cannot be read: {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            task = _task(json.loads(line))
            if task.id in line_of:
                raise ValueError(f"id {task.id!r} is also on line {line_of[task.id]}")
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
        else:
            line_of[task.id] = number
            tasks.append(task)
    if not tasks and not faults:
        faults.append(f"{path}: no seed task in it")
    if faults:
        raise UserError("seed tasks are malformed, correct them and start again:\n" + "\n".join(faults))
    return tasks


def _task(row: Any) -> Task:
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, found {type(row).__name__}")
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances:
        raise ValueError("'instances' must be a list with at least one input-output object")
    if not isinstance(row.get("is_classification"), bool):
        raise ValueError("'is_classification' must be true or false")
    return Task(
        id=_text(row, "id"),
        name=_text(row, "name"),
        instruction=_text(row, "instruction"),
        instances=tuple(_instance(instance) for instance in instances),
    )


def _instance(row: Any) -> Instance:
    if not isinstance(row, dict):
        raise ValueError("every instance must be an object with 'input' and 'output'")
    return Instance(input=_text(row, "input", may_be_empty=True), output=_text(row, "output"))


def _text(row: dict[str, Any], key: str, *, may_be_empty: bool = False) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be a string, found {type(value).__name__}")
    if not value.strip() and not may_be_empty:
        raise ValueError(f"{key!r} is empty")
    return value
