"""What of a reply becomes data. Pure functions: what is used, and a `Reject` for all that is not.

Only the instances that prompt 2 shows, and asks to have returned, are passed over in silence.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from mini_lima.chat import Reply
from mini_lima.data.examples import Reject
from mini_lima.data.parsing import Fault, Found, instances, pairs
from mini_lima.data.screening import Screen
from mini_lima.data.seeds import NEW_TASK, Instance, Task

Parsed = TypeVar("Parsed")


def new_tasks(
    reply: Reply, *, screen: Screen, earlier: Sequence[Task], wanted: int
) -> tuple[list[Task], list[Reject]]:
    """Return the tasks of a reply to prompt 1 that are not there yet.

    Args:
        reply: The reply to prompt 1.
        screen: The filters, and the seed tasks.
        earlier: New tasks of the replies before this one; ids number on from them.
        wanted: How many new tasks there shall be in all.
    """
    texts = [task.instruction for task in (*screen.seeds, *earlier)]
    known = set(map(_plain, texts))
    made: list[Task] = []
    found, faults = _read(reply, pairs)
    for name, instruction in found:
        if _plain(instruction) in known:
            faults.append(Fault("task exists already", instruction))
        elif len(earlier) + len(made) == wanted:
            faults.append(Fault("more tasks than wanted", instruction))
        elif no := screen.task(instruction, texts):
            faults.append(Fault(no.code, instruction, no.detail))
        else:
            known.add(_plain(instruction))
            texts.append(instruction)
            id = f"{NEW_TASK}{len(earlier) + len(made)}"
            made.append(Task(id, name, instruction, (), request=reply.request_key))
    return made, _rejects(faults, "prompt 1", None, reply)


def new_instances(
    reply: Reply,
    *,
    task: Task,
    wanted: int,
    prompt: str,
    screen: Screen,
    example: Task | None = None,
) -> tuple[tuple[Instance, ...], list[Reject]]:
    """Return up to ``wanted`` instances of a reply to prompt 2 or 3 that ``task`` lacks.

    Args:
        reply: The reply to ``prompt``.
        task: What the instances were asked for.
        wanted: How many are to be used.
        prompt: Which one it was, for the rejects.
        screen: The filters, and the seed tasks.
        example: The task that prompt 3 shows; an echo of it is no instance of ``task``.
    """
    on = screen.filters
    fresh: list[Instance] = []
    found, faults = _read(reply, instances)
    for each in found:
        text = json.dumps(asdict(each.instance), ensure_ascii=False)
        if on.echo and example and _echoes(each, example, task):
            faults.append(Fault("echo", text, "instance of the example, not of the task"))
        elif each.instance in fresh:
            faults.append(Fault("instance occurs twice", text))
        elif each.instance in task.instances:
            pass
        elif on.wrong_number and len(fresh) == wanted:
            faults.append(Fault("wrong_number", text, f"more than {wanted}"))
        elif no := screen.instance(each.instance, task):
            faults.append(Fault(no.code, text, no.detail))
        else:
            fresh.append(each.instance)
    if len(fresh) < wanted:
        missing = f"{wanted - len(fresh)} of {wanted} instances missing"
        faults.append(Fault(missing, reply.text, is_note=True))
    return tuple(fresh), _rejects(faults, prompt, task.id, reply)


def _read(
    reply: Reply, parse: Callable[[str], tuple[list[Parsed], list[Fault]]]
) -> tuple[list[Parsed], list[Fault]]:
    if reply.error is not None:
        return [], [Fault(f"no reply: {reply.error}", "", is_note=True)]
    return parse(reply.text)


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
    cut = bool(faults) and reply.finish_reason == "length"
    notes = [Fault("reply cut off", reply.text, is_note=True)] if cut else []
    return [
        Reject(
            reason=fault.reason,
            asked_for=asked_for,
            request=reply.request_key,
            text=fault.text,
            detail=fault.detail,
            is_note=fault.is_note,
            prompt=prompt,
        )
        for fault in (*faults, *notes)
    ]
