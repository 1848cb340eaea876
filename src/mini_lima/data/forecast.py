"""What the data methods will ask, before anything is asked: for a plan and its costs.

What depends on replies that nobody has yet is stood in for by the seed tasks: as many prompts as
there can be, each about as long as it will be. Prompts that do not depend on replies are the very
ones that will be sent, so a plan can see which of them are answered already.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from mini_lima.chat import Chat, ChatRequest, user_says
from mini_lima.data import prompts
from mini_lima.data.examples import Example
from mini_lima.data.improved import WorkedExample, prompt_4
from mini_lima.data.naive import prompts_1, shown_in_prompt_3
from mini_lima.data.seeds import Task, read_seeds


def naive_requests(
    *,
    seeds: Path,
    teacher: Chat,
    shuffle_seed: int,
    pairs_per_prompt: int,
    max_new_tasks: int | None,
    **_: Any,
) -> list[ChatRequest]:
    """The requests of `naive.build`, given its keywords, if one round of prompt 1 is enough."""
    tasks = read_seeds(seeds)
    new = _new_tasks(tasks, max_new_tasks)
    shown = shown_in_prompt_3(tasks, len(new), shuffle_seed)
    texts = [
        *(prompts_1(tasks, pairs_per_prompt, 0, shuffle_seed) if new else ()),
        *map(prompts.more_instances, tasks),
        *(prompts.new_instances(task, example=old) for task, old in zip(new, shown, strict=True)),
    ]
    return _requests(teacher, texts)


def improved_requests(
    examples: Sequence[Example], *, teacher: Chat, worked_example: WorkedExample, **_: Any
) -> list[ChatRequest]:
    """The requests of `improved.build`, given its keywords, for the naive ``examples``."""
    return _requests(teacher, [prompt_4(each, worked_example) for each in examples])


def naive_examples(
    *,
    seeds: Path,
    max_new_tasks: int | None,
    instances_per_seed: int,
    instances_per_new_task: int,
    **_: Any,
) -> list[Example]:
    """As many examples as `naive.build` will make at the most, with texts of the seed tasks."""
    tasks = read_seeds(seeds)
    found = [
        _example(task, number, of=len(task.instances) + instances_per_seed)
        for task in tasks
        for number in range(len(task.instances) + instances_per_seed)
    ]
    return found + [
        _example(task, number, of=instances_per_new_task)
        for task in _new_tasks(tasks, max_new_tasks)
        for number in range(instances_per_new_task)
    ]


def _new_tasks(tasks: Sequence[Task], most: int | None) -> list[Task]:
    found = islice(cycle(tasks), len(tasks) if most is None else most)
    # Equal prompts would be asked once.
    return [replace(task, name=f"{task.name}_{number}") for number, task in enumerate(found)]


def _example(task: Task, number: int, *, of: int) -> Example:
    instance = list(islice(cycle(task.instances), of))[number]
    return Example(
        id=f"{task.id}.{number}",
        task=task.id,
        name=f"{task.name}_{number}",
        instruction=task.instruction,
        input=instance.input,
        output=instance.output,
        source="seed",
        request=None,
    )


def _requests(teacher: Chat, texts: Sequence[str]) -> list[ChatRequest]:
    return [teacher.model.request(each) for each in user_says(texts)]
