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
from mini_lima.data.examples import Example, Reject, write_data_set
from mini_lima.data.seeds import Instance, Task, read_seeds
from mini_lima.data.selection import new_instances, new_tasks
from mini_lima.data.teacher import Teacher

INSTANCES_PER_SEED = 2
INSTANCES_PER_NEW_TASK = 5

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

    made: list[Task] = []
    rounds = 0
    while len(made) < len(seed_tasks) and rounds < max_rounds:
        rounds += 1
        shown = _shuffled(seed_tasks, f"prompt 1, round {rounds}, {shuffle_seed}")
        hands = [shown[at : at + pairs_per_prompt] for at in range(0, len(shown), pairs_per_prompt)]
        asked = [prompts.more_pairs(hand) for hand in hands]
        for reply in ask(asked, label=f"prompt 1: new tasks, round {rounds}"):
            more, unused = new_tasks(reply, seeds=seed_tasks, earlier=made)
            made += more
            rejects += unused
    if len(made) < len(seed_tasks):
        counts = (len(made), len(seed_tasks), rounds)
        log.warning("prompt 1 gave %d new tasks for %d seed tasks in %d rounds", *counts)

    examples: list[Example] = []
    grown_seeds: list[Task] = []
    asked = [prompts.more_instances(task) for task in seed_tasks]
    replies = ask(asked, label="prompt 2: instances for the seed tasks")
    for task, reply in zip(seed_tasks, replies, strict=True):
        fresh, unused = new_instances(
            reply, task=task, wanted=INSTANCES_PER_SEED, prompt="prompt 2"
        )
        grown_seeds.append(replace(task, instances=task.instances + fresh))
        examples += _examples(task, fresh, "prompt 2", reply)
        rejects += unused

    shown = _shuffled(grown_seeds, f"prompt 3, {shuffle_seed}")[: len(made)]
    asked = [
        prompts.new_instances(task, example=old) for task, old in zip(made, shown, strict=True)
    ]
    replies = ask(asked, label="prompt 3: instances for the new tasks")
    for task, old, reply in zip(made, shown, replies, strict=True):
        fresh, unused = new_instances(
            reply, task=task, wanted=INSTANCES_PER_NEW_TASK, prompt="prompt 3", example=old
        )
        examples += _examples(task, fresh, "prompt 3", reply)
        rejects += unused

    write_data_set(
        output_dir,
        examples,
        rejects,
        seed_tasks=len(seed_tasks),
        new_tasks=len(made),
        rounds_of_prompt_1=rounds,
    )


def _shuffled(tasks: Sequence[Task], occasion: str) -> list[Task]:
    return random.Random(occasion).sample(tasks, len(tasks))


def _examples(task: Task, fresh: Sequence[Instance], prompt: str, reply: Reply) -> list[Example]:
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
        )
        for number, (instance, (source, request)) in enumerate(
            zip((*task.instances, *fresh), sources, strict=True)
        )
    ]
