"""Seed tasks in the self-instruct JSONL schema, all checked before anything is asked or paid.

Source of the schema: Wang et al. 2022, *Self-Instruct*, file ``seed_tasks.jsonl``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from mini_lima.errors import UserError
from mini_lima.files import Text, read_rows, refuse

NEW_TASK = "new_task_"
"""How ids of tasks begin that the teacher thought of; a seed task may not have such an id."""


@dataclass(frozen=True)
class Instance:
    """One input-output pair of a task; ``input`` is empty when the instruction stands alone."""

    input: str
    output: Text


@dataclass(frozen=True)
class SeedTask:
    """A row of the file; what else is in it is not looked at."""

    id: Text
    name: Text
    instruction: Text
    instances: Annotated[tuple[Instance, ...], MinLen(1)]
    is_classification: bool


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
        UserError: names place and field of the faults; nothing is returned then.
    """
    rows = read_rows(path, SeedTask)
    if not rows:
        raise UserError(f"{path}: no seed task in it")
    faults: list[str] = []
    place_of: dict[str, str] = {}
    for place, task in rows:
        if (first := place_of.setdefault(task.id, place)) != place:
            faults.append(f"{place}: id: {task.id!r} is also that of {first}")
        if task.id.startswith(NEW_TASK):
            faults.append(f"{place}: id: must not begin with {NEW_TASK!r}, as new tasks' ids do")
    refuse(path, faults)
    return [Task(**vars(task)) for _, task in rows]
