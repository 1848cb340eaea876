"""What of a reply becomes data. Pure functions: what is used, and a `Reject` for all that is not.

Only the instances that prompt 2 shows, and asks to have returned, are passed over in silence.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from mini_lima.chat import Reply
from mini_lima.data.examples import Reject
from mini_lima.data.parsing import Fault, Found, instances, pairs
from mini_lima.data.seeds import NEW_TASK, Instance, Task


def new_tasks(
    reply: Reply, *, seeds: Sequence[Task], earlier: Sequence[Task]
) -> tuple[list[Task], list[Reject]]:
    """Return the tasks of a reply to prompt 1 that are not there yet, until as many as ``seeds``.

    Args:
        reply: The reply to prompt 1.
        seeds: The seed tasks.
        earlier: New tasks of the replies before this one; ids number on from them.
    """
    known = {_plain(task.instruction) for task in (*seeds, *earlier)}
    made: list[Task] = []
    found, faults = pairs(reply.text)
    for name, instruction in found:
        if _plain(instruction) in known:
            faults.append(Fault("task exists already", instruction))
        elif len(earlier) + len(made) == len(seeds):
            faults.append(Fault("more tasks than wanted", instruction))
        else:
            known.add(_plain(instruction))
            made.append(Task(f"{NEW_TASK}{len(earlier) + len(made)}", name, instruction, ()))
    return made, _rejects(faults, "prompt 1", None, reply)


def new_instances(
    reply: Reply, *, task: Task, wanted: int, prompt: str, example: Task | None = None
) -> tuple[tuple[Instance, ...], list[Reject]]:
    """Return up to ``wanted`` instances of a reply to prompt 2 or 3 that ``task`` lacks.

    Args:
        reply: The reply to ``prompt``.
        task: What the instances were asked for.
        wanted: How many were asked for.
        prompt: Which one it was, for the rejects.
        example: The task that prompt 3 shows; an echo of it is no instance of ``task``.
    """
    fresh: list[Instance] = []
    found, faults = instances(reply.text)
    for each in found:
        text = json.dumps(asdict(each.instance), ensure_ascii=False)
        if example and _echoes(each, example, task):
            faults.append(Fault("instance of the example, not of the task", text))
        elif each.instance in fresh:
            faults.append(Fault("instance occurs twice", text))
        elif each.instance in task.instances:
            pass
        elif len(fresh) == wanted:
            faults.append(Fault("more instances than wanted", text))
        else:
            fresh.append(each.instance)
    if len(fresh) < wanted:
        faults.append(Fault(f"{wanted - len(fresh)} of {wanted} instances missing", reply.text))
    return tuple(fresh), _rejects(faults, prompt, task.id, reply)


def _echoes(found: Found, example: Task, task: Task) -> bool:
    """Whether the teacher, asked for ``task``, repeated or continued ``example`` instead."""
    copied = found.instance in example.instances
    if copied and (found.instance.input or not found.instruction):
        return True
    if found.instruction:
        said = _plain(found.instruction)
        return said == _plain(example.instruction) != _plain(task.instruction)
    return found.name == example.name != task.name


def _plain(instruction: str) -> str:
    return " ".join(instruction.casefold().split())


def _rejects(
    faults: Sequence[Fault], prompt: str, asked_for: str | None, reply: Reply
) -> list[Reject]:
    cut = faults and reply.finish_reason == "length"
    return [
        Reject(f"{prompt}: {fault.reason}", asked_for, reply.request_key, fault.text)
        for fault in (*faults, *([Fault("reply cut off", reply.text)] if cut else []))
    ]
