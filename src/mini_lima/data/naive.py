"""The naive method (the study, section 2.1): prompts 1 to 3.

    S seed tasks ─ prompt 1 → S new tasks              (rounds, until doubled)
                 ─ prompt 2 → two more instances each  (S × 3 examples)
    S new tasks  ─ prompt 3 → five instances each      (S × 5 examples)

With 174 seeds that is 1,392 examples at most, the study's "around 1,500". Which seeds stand in which
prompt is drawn from ``shuffle_seed`` alone, so the requests, and with them the data set, do not
depend on the order in which replies arrive.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mini_lima.chat import ChatModel, Endpoint, Reply
from mini_lima.data import prompts
from mini_lima.data.examples import Example, Reject, write_data_set
from mini_lima.data.parsing import instances, pairs
from mini_lima.data.seeds import Instance, Task, read_seeds
from mini_lima.data.teacher import Teacher

INSTANCES_PER_SEED = 2
INSTANCES_PER_NEW_TASK = 5


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
) -> None:
    """Write the naive data set.

    Args:
        output_dir: Receives ``examples.jsonl``, ``rejects.jsonl`` and ``stats.json``.
        seeds: Seed tasks, JSONL.
        teacher: The model that writes the data.
        endpoint: Where the teacher is reached.
        cache: The response cache's file.
        shuffle_seed: Decides which seeds stand together in prompt 1 and which one in a prompt 3.
        pairs_per_prompt: {name, instruction} pairs shown in one prompt 1.
        max_rounds: Rounds of prompt 1 after which fewer new tasks than seeds are accepted.
    """
    ask = Teacher(teacher, endpoint, cache).ask
    seed_tasks = read_seeds(seeds)
    rejects: list[Reject] = []

    new_tasks: list[Task] = []
    rounds = 0
    while len(new_tasks) < len(seed_tasks) and rounds < max_rounds:
        rounds += 1
        shown = _shuffled(seed_tasks, f"prompt 1, round {rounds}, {shuffle_seed}")
        hands = [shown[at : at + pairs_per_prompt] for at in range(0, len(shown), pairs_per_prompt)]
        asked = [prompts.more_pairs(hand) for hand in hands]
        for reply in ask(asked, label=f"prompt 1: new tasks, round {rounds}"):
            new_tasks += _new_tasks(reply, seed_tasks, new_tasks, rejects)

    asked = [prompts.more_instances(task) for task in seed_tasks]
    replies = ask(asked, label="prompt 2: instances for the seed tasks")
    grown_seeds = [
        _grown(task, reply, INSTANCES_PER_SEED, rejects)
        for task, reply in zip(seed_tasks, replies, strict=True)
    ]
    examples = [
        example
        for task, seed, reply in zip(grown_seeds, seed_tasks, replies, strict=True)
        for example in _examples(task, reply, source="prompt 2", own=len(seed.instances))
    ]

    shown = _shuffled(grown_seeds, f"prompt 3, {shuffle_seed}")
    asked = [prompts.new_instances(new, example=old) for new, old in zip(new_tasks, shown)]
    replies = ask(asked, label="prompt 3: instances for the new tasks")
    for task, reply in zip(new_tasks, replies, strict=True):
        grown = _grown(task, reply, INSTANCES_PER_NEW_TASK, rejects)
        examples += _examples(grown, reply, source="prompt 3", own=0)

    write_data_set(
        output_dir,
        examples,
        rejects,
        seed_tasks=len(seed_tasks),
        new_tasks=len(new_tasks),
        rounds_of_prompt_1=rounds,
    )


def _shuffled(tasks: Sequence[Task], occasion: str) -> list[Task]:
    return random.Random(occasion).sample(tasks, len(tasks))


def _new_tasks(
    reply: Reply, seeds: Sequence[Task], earlier: Sequence[Task], rejects: list[Reject]
) -> list[Task]:
    """The tasks of ``reply`` to prompt 1 that are not there yet, as long as some are wanted."""
    known = {_plain(task.instruction) for task in (*seeds, *earlier)}
    made: list[Task] = []
    found = pairs(reply.text)
    if not found:
        rejects.append(Reject("prompt 1: no {name, instruction} pair", reply.request_key, reply.text))
    for name, instruction in found:
        if _plain(instruction) in known:
            rejects.append(Reject("prompt 1: task exists already", reply.request_key, instruction))
        elif len(earlier) + len(made) == len(seeds):
            rejects.append(Reject("prompt 1: more tasks than wanted", reply.request_key, instruction))
        else:
            known.add(_plain(instruction))
            made.append(Task(f"new_task_{len(earlier) + len(made)}", name, instruction, ()))
    return made


def _plain(instruction: str) -> str:
    return " ".join(instruction.casefold().split())


def _grown(task: Task, reply: Reply, wanted: int, rejects: list[Reject]) -> Task:
    """``task`` with up to ``wanted`` instances of ``reply`` to prompt 2 or 3 that it lacks."""
    fresh: list[Instance] = []
    for instance in instances(reply.text):
        if instance not in (*task.instances, *fresh):
            fresh.append(instance)
    if len(fresh) < wanted:
        rejects.append(Reject(f"{wanted - len(fresh)} of {wanted} instances missing", reply.request_key, reply.text))
    for extra in fresh[wanted:]:
        rejects.append(Reject("more instances than wanted", reply.request_key, extra.output))
    return replace(task, instances=task.instances + tuple(fresh[:wanted]))


def _examples(task: Task, reply: Reply, *, source: str, own: int) -> list[Example]:
    """The instances of ``task`` as examples; the first ``own`` are the seed's, not the teacher's."""
    return [
        Example(
            id=f"{task.id}.{number}",
            task=task.id,
            name=task.name,
            instruction=task.instruction,
            input=instance.input,
            output=instance.output,
            source="seed" if number < own else source,
            request=None if number < own else reply.request_key,
        )
        for number, instance in enumerate(task.instances)
    ]
