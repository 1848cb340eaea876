"""The naive method (the study, section 2.1): prompts 1 to 3.

    S seed tasks ─ prompt 1 → S new tasks              (rounds, until doubled)
                 ─ prompt 2 → two more instances each  (S × 3 examples)
    S new tasks  ─ prompt 3 → five instances each      (S × 5 examples)

With 174 seeds that is 1,392 examples at most, the study's "around 1,500". Which seeds stand in
which prompt is drawn from ``shuffle_seed`` alone, so the requests, and with them the data set, do
not depend on the order in which replies arrive.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mini_lima.chat import ChatModel, Endpoint, Reply
from mini_lima.data import prompts
from mini_lima.data.examples import DataSet, Example, Reject
from mini_lima.data.filters import Filters
from mini_lima.data.screening import Screen
from mini_lima.data.seeds import Instance, Task, read_seeds
from mini_lima.data.selection import new_instances, new_tasks
from mini_lima.data.teacher import Teacher
from mini_lima.data.writing import write_data_set

INSTANCES_PER_SEED = 2
INSTANCES_PER_NEW_TASK = 5
"""What the words of prompts 2 and 3 ask for, and so the most that there can be."""

log = logging.getLogger(__name__)


def build(
    output_dir: Path,
    *,
    seeds: Path,
    teacher: ChatModel,
    endpoint: Endpoint,
    cache: Path,
    shuffle_seed: int,
    pairs_per_prompt: int,
    max_rounds: int,
    max_idle_rounds: int = 2,
    max_new_tasks: int | None = None,
    instances_per_seed: int = INSTANCES_PER_SEED,
    instances_per_new_task: int = INSTANCES_PER_NEW_TASK,
    filters: Filters | None = None,
) -> None:
    """Write the naive data set.

    Args:
        output_dir: Receives what `write_data_set` writes.
        seeds: Seed tasks, JSONL.
        teacher: The model that writes the data.
        endpoint: Where the teacher is reached.
        cache: The response cache's file.
        shuffle_seed: Decides which seeds stand together in prompt 1 and which one in a prompt 3.
        pairs_per_prompt: {name, instruction} pairs shown in one prompt 1.
        max_rounds: Rounds of prompt 1 after which fewer new tasks than wanted are accepted.
        max_idle_rounds: Rounds in a row without any new task after which they are, too.
        max_new_tasks: New tasks wanted; None for as many as seeds.
        instances_per_seed: Instances of a reply to prompt 2 that are used.
        instances_per_new_task: Instances of a reply to prompt 3 that are used.
        filters: What is not used; None for all filters.
    """
    ask = Teacher(teacher, endpoint, cache).ask
    seed_tasks = read_seeds(seeds)
    screen = Screen(filters or Filters(), seed_tasks)
    examples: list[Example] = []
    rejects: list[Reject] = []
    asked: dict[str, int] = {}

    made: list[Task] = []
    wanted = len(seed_tasks) if max_new_tasks is None else max_new_tasks
    rounds = idle = asked["prompt 1"] = 0
    while len(made) < wanted and rounds < max_rounds and idle < max_idle_rounds:
        before = len(made)
        shown = _shuffled(seed_tasks, f"prompt 1, round {rounds + 1}, {shuffle_seed}")
        hands = [shown[at : at + pairs_per_prompt] for at in range(0, len(shown), pairs_per_prompt)]
        texts = [prompts.more_pairs(hand) for hand in hands]
        # A round that happens to deal the same hand again is to get another answer to it.
        replies = ask(texts, label=f"prompt 1: new tasks, round {rounds + 1}", sample=rounds)
        for reply in replies:
            more, unused = new_tasks(reply, screen=screen, earlier=made, wanted=wanted)
            made += more
            rejects += unused
        rounds += 1
        idle = 0 if len(made) > before else idle + 1
        asked["prompt 1"] += len(replies)
    if len(made) < wanted:
        counts = (len(made), len(seed_tasks), wanted, rounds)
        log.warning("prompt 1 gave %d new tasks for %d seed tasks, not %d, in %d rounds", *counts)

    grown_seeds: list[Task] = []
    texts = [prompts.more_instances(task) for task in seed_tasks]
    replies = ask(texts, label="prompt 2: instances for the seed tasks")
    for task, reply in zip(seed_tasks, replies, strict=True):
        fresh, unused = new_instances(
            reply, task=task, wanted=instances_per_seed, prompt="prompt 2", screen=screen
        )
        grown_seeds.append(replace(task, instances=task.instances + fresh))
        examples += _examples(task, fresh, "prompt 2", reply, shown=None)
        rejects += unused
    asked["prompt 2"] = len(replies)

    shown = _repeated(_shuffled(grown_seeds, f"prompt 3, {shuffle_seed}"), len(made))
    texts = [
        prompts.new_instances(task, example=old) for task, old in zip(made, shown, strict=True)
    ]
    replies = ask(texts, label="prompt 3: instances for the new tasks")
    for task, old, reply in zip(made, shown, replies, strict=True):
        fresh, unused = new_instances(
            reply,
            task=task,
            wanted=instances_per_new_task,
            prompt="prompt 3",
            screen=screen,
            example=old,
        )
        examples += _examples(task, fresh, "prompt 3", reply, shown=old.id)
        rejects += unused
    asked["prompt 3"] = len(replies)

    write_data_set(
        output_dir,
        DataSet("naive", examples, rejects, asked, teacher.model, endpoint.identity, len(made)),
        seed_tasks=len(seed_tasks),
        new_tasks=len(made),
        new_tasks_wanted=wanted,
        rounds_of_prompt_1=rounds,
    )


def _shuffled(tasks: Sequence[Task], occasion: str) -> list[Task]:
    return random.Random(occasion).sample(tasks, len(tasks))


def _repeated(tasks: Sequence[Task], count: int) -> list[Task]:
    return [tasks[number % len(tasks)] for number in range(count)]


def _examples(
    task: Task, fresh: Sequence[Instance], prompt: str, reply: Reply, *, shown: str | None
) -> list[Example]:
    """The instances a seed ``task`` has of its own, and the ``fresh`` ones, numbered on."""
    sources = [("seed", None)] * len(task.instances) + [(prompt, reply.request_key)] * len(fresh)
    return [
        Example(
            id=f"{task.id}.{number}",
            task=task.id,
            name=task.name,
            instruction=task.instruction,
            input=instance.input,
            output=instance.output,
            source=source,
            request=request,
            task_request=task.request,
            shown=shown,
            is_classification=task.is_classification,
        )
        for number, (instance, (source, request)) in enumerate(
            zip((*task.instances, *fresh), sources, strict=True)
        )
    ]
