"""Self-Instruct as the study does it (its section 2.1): prompts 1 to 3 make examples of seed tasks.

    S seed tasks ─ prompt 1 → S new tasks              (rounds, until doubled)
                 ─ prompt 2 → two more instances each  (S × 3 examples)
    S new tasks  ─ prompt 3 → five instances each      (S × 5 examples)

With 174 seeds that is 1,392 examples at most, the study's "around 1,500". Which seeds stand in
which prompt is drawn from ``shuffle_seed`` alone, so the requests, and with them the data set, do
not depend on the order in which replies arrive.
"""

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from mini_lima.chat import Chat, Reply, Session, user_says
from mini_lima.data import prompts
from mini_lima.data.examples import Example, Reject, StepReport
from mini_lima.data.filters import Filters, TaskFilter, new_instances, new_tasks
from mini_lima.data.prompts import Template, read_template
from mini_lima.data.seeds import Instance, Task, read_seeds
from mini_lima.data.steps import Forecast, forecast_by

Count = Annotated[int, Ge(0)]
AtLeastOne = Annotated[int, Ge(1)]

log = logging.getLogger(__name__)


def _expect_self_instruct(
    *,
    seeds: Path,
    teacher: Chat,
    new_tasks_prompt: Path,
    more_instances_prompt: Path,
    new_instances_prompt: Path,
    shuffle_seed: int = 0,
    pairs_per_prompt: int = 6,
    max_new_tasks: int | None = None,
    instances_per_seed: int = 2,
    instances_per_new_task: int = 5,
    **_: Any,
) -> Forecast:
    """Say what `self_instruct` will ask if one round of prompt 1 is enough, and make at the most.

    The seed tasks stand in for new ones. The other prompts are the very ones that will be sent.
    """
    tasks = read_seeds(seeds)
    asks = _Prompts.read(new_tasks_prompt, more_instances_prompt, new_instances_prompt)
    found = islice(cycle(tasks), len(tasks) if max_new_tasks is None else max_new_tasks)
    # Equal prompts would be asked once.
    new = [replace(task, name=f"{task.name}_{number}") for number, task in enumerate(found)]
    shown = shown_in_prompt_3(tasks, len(new), shuffle_seed)
    texts = [
        *(asks.for_new_tasks(tasks, pairs_per_prompt, 0, shuffle_seed) if new else ()),
        *map(asks.for_more_instances, tasks),
        *(asks.for_new_instances(task, example=old) for task, old in zip(new, shown, strict=True)),
    ]
    # A step that asks about each example asks once where two are equal: those to come will not be.
    others = [
        replace(task, id=f"new_{number}", instruction=f"{task.instruction} {number}")
        for number, task in enumerate(new)
    ]
    examples = [
        *(e for task in tasks for e in _at_most(task, len(task.instances), instances_per_seed)),
        *(e for task in others for e in _at_most(task, 0, instances_per_new_task)),
    ]
    return Forecast([teacher.model.request(each) for each in user_says(texts)], examples)


@forecast_by(_expect_self_instruct)
def self_instruct(
    output_dir: Path,
    *,
    seeds: Path,
    teacher: Chat,
    new_tasks_prompt: Path,
    more_instances_prompt: Path,
    new_instances_prompt: Path,
    shuffle_seed: int = 0,
    pairs_per_prompt: AtLeastOne = 6,
    max_rounds: AtLeastOne = 5,
    max_idle_rounds: AtLeastOne = 2,
    max_new_tasks: Count | None = None,
    instances_per_seed: Count = 2,
    instances_per_new_task: Count = 5,
    filters: Filters | None = None,
) -> StepReport:
    """Make examples of seed tasks.

    Args:
        output_dir: Receives the ledger of the requests.
        seeds: Seed tasks, JSONL.
        teacher: Who writes the data.
        new_tasks_prompt: Template of prompt 1, with the field ``pairs``.
        more_instances_prompt: Template of prompt 2, with the field ``task``.
        new_instances_prompt: Template of prompt 3, with the fields ``example`` and ``task``.
        shuffle_seed: Decides which seeds stand together in prompt 1 and which one in a prompt 3.
        pairs_per_prompt: {name, instruction} pairs shown in one prompt 1.
        max_rounds: Rounds of prompt 1 after which fewer new tasks than wanted are accepted.
        max_idle_rounds: Rounds in a row without any new task after which they are, too.
        max_new_tasks: New tasks wanted; None for as many as seeds.
        instances_per_seed: Instances of a reply to prompt 2 that are used.
        instances_per_new_task: Instances of a reply to prompt 3 that are used.
        filters: What is not used; None for all filters.
    """
    seed_tasks = read_seeds(seeds)
    asks = _Prompts.read(new_tasks_prompt, more_instances_prompt, new_instances_prompt)
    task_filter = TaskFilter(filters or Filters(), seed_tasks)
    wanted = len(seed_tasks) if max_new_tasks is None else max_new_tasks
    with teacher.session(output_dir) as session:
        run = _Run(session, asks, task_filter, shuffle_seed)
        made, rounds = run.new_tasks(wanted, pairs_per_prompt, max_rounds, max_idle_rounds)
        grown_seeds = run.more_instances(instances_per_seed)
        shown = shown_in_prompt_3(grown_seeds, len(made), shuffle_seed)
        run.instances(made, shown, instances_per_new_task)
    return StepReport(
        run.examples,
        rejects=run.rejects,
        requests=run.asked,
        asked_for={
            "prompt 1": wanted,
            "prompt 2": len(seed_tasks) * instances_per_seed,
            "prompt 3": len(made) * instances_per_new_task,
        },
        used={"prompt 1": len(made)},
        cost=session.ledger.value,
        teacher=teacher.model.model,
        endpoint=teacher.endpoint.identity,
        figures={
            "seed_tasks": len(seed_tasks),
            "new_tasks": len(made),
            "new_tasks_wanted": wanted,
            "rounds_of_prompt_1": rounds,
        },
    )


@dataclass(frozen=True)
class _Prompts:
    """The templates of prompts 1 to 3."""

    new_tasks: Template
    more_instances: Template
    new_instances: Template

    @classmethod
    def read(cls, new_tasks: Path, more_instances: Path, new_instances: Path) -> "_Prompts":
        both = ("example", "task")
        return cls(
            read_template(new_tasks, fields=("pairs",), needs=("pairs",)),
            read_template(more_instances, fields=("task",), needs=("task",)),
            read_template(new_instances, fields=both, needs=("task",)),
        )

    def for_new_tasks(
        self, seeds: Sequence[Task], pairs_per_prompt: int, rounds_before: int, shuffle_seed: int
    ) -> list[str]:
        """The prompts of one round of prompt 1: each seed stands in one of them."""
        dealt = _shuffled(seeds, f"prompt 1, round {rounds_before + 1}, {shuffle_seed}")
        hands = [dealt[at : at + pairs_per_prompt] for at in range(0, len(dealt), pairs_per_prompt)]
        return [self.new_tasks.fill({"pairs": prompts.pairs(hand)}) for hand in hands]

    def for_more_instances(self, task: Task) -> str:
        return self.more_instances.fill({"task": prompts.whole(task)})

    def for_new_instances(self, task: Task, *, example: Task) -> str:
        """Prompt 3, one-shot: an earlier task with its instances, then ``task``, which has none."""
        fields = {"example": prompts.whole(example), "task": prompts.pair(task)}
        return self.new_instances.fill(fields)


@dataclass
class _Run:
    """The prompts one after the other, and what the replies brought so far."""

    session: Session
    asks: _Prompts
    task_filter: TaskFilter
    shuffle_seed: int
    asked: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def new_tasks(
        self, wanted: int, pairs_per_prompt: int, max_rounds: int, max_idle_rounds: int
    ) -> tuple[list[Task], int]:
        """Prompt 1, in rounds; return the new tasks and how many rounds it took."""
        seeds = self.task_filter.seeds
        made: list[Task] = []
        rounds = idle = self.asked["prompt 1"] = 0
        while len(made) < wanted and rounds < max_rounds and idle < max_idle_rounds:
            before = len(made)
            texts = self.asks.for_new_tasks(seeds, pairs_per_prompt, rounds, self.shuffle_seed)
            # A round that happens to deal the same hand again is to get another answer to it.
            replies = self.session.ask(
                user_says(texts), label=f"prompt 1: new tasks, round {rounds + 1}", sample=rounds
            )
            for reply in replies:
                more, unused = new_tasks(
                    reply, task_filter=self.task_filter, earlier=made, wanted=wanted
                )
                made += more
                self.rejects += unused
            rounds += 1
            idle = 0 if len(made) > before else idle + 1
            self.asked["prompt 1"] += len(replies)
        if len(made) < wanted:
            counts = (len(made), len(seeds), wanted, rounds)
            log.warning(
                "prompt 1 gave %d new tasks for %d seed tasks, not %d, in %d rounds", *counts
            )
        return made, rounds

    def more_instances(self, wanted: int) -> list[Task]:
        """Prompt 2; return the seed tasks with what they gained."""
        seeds = self.task_filter.seeds
        texts = [self.asks.for_more_instances(task) for task in seeds]
        replies = self.session.ask(user_says(texts), label="prompt 2: instances for the seed tasks")
        self.asked["prompt 2"] = len(replies)
        return [
            replace(task, instances=task.instances + self._use(reply, task, wanted, "prompt 2"))
            for task, reply in zip(seeds, replies, strict=True)
        ]

    def instances(self, made: Sequence[Task], shown: Sequence[Task], wanted: int) -> None:
        """Prompt 3 for each of the tasks ``made``, with the task beside it in ``shown``."""
        both = list(zip(made, shown, strict=True))
        texts = [self.asks.for_new_instances(task, example=old) for task, old in both]
        replies = self.session.ask(user_says(texts), label="prompt 3: instances for the new tasks")
        self.asked["prompt 3"] = len(replies)
        for (task, old), reply in zip(both, replies, strict=True):
            self._use(reply, task, wanted, "prompt 3", shown=old)

    def _use(
        self, reply: Reply, task: Task, wanted: int, prompt: str, shown: Task | None = None
    ) -> tuple[Instance, ...]:
        """Return the instances of ``task`` in ``reply``, with the task's own made into examples."""
        fresh, unused = new_instances(
            reply,
            task=task,
            wanted=wanted,
            prompt=prompt,
            task_filter=self.task_filter,
            example=shown,
        )
        self.rejects += unused
        origins = [("seed", None)] * len(task.instances) + [(prompt, reply.request_key)] * len(
            fresh
        )
        self.examples += [
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
                shown=shown.id if shown else None,
                is_classification=task.is_classification,
            )
            for number, (instance, (source, request)) in enumerate(
                zip((*task.instances, *fresh), origins, strict=True)
            )
        ]
        return fresh


def shown_in_prompt_3(seeds: Sequence[Task], count: int, shuffle_seed: int) -> list[Task]:
    """The seed tasks that stand as examples in ``count`` prompts 3, each about equally often."""
    dealt = _shuffled(seeds, f"prompt 3, {shuffle_seed}")
    return [dealt[number % len(dealt)] for number in range(count)]


def _shuffled(tasks: Sequence[Task], occasion: str) -> list[Task]:
    return random.Random(occasion).sample(tasks, len(tasks))


def _at_most(task: Task, has: int, more: int) -> Iterator[Example]:
    """Yield the examples that ``task`` ``has``, and ``more`` that stand in for those to come."""
    for number, instance in enumerate(islice(cycle(task.instances), has + more)):
        known = number < has
        yield Example(
            id=f"{task.id}.{number}",
            task=task.id,
            name=f"{task.name}_{number}",
            instruction=task.instruction,
            input=instance.input if known else f"{instance.input} {task.id}.{number}",
            output=instance.output if known else f"{instance.output} {task.id}.{number}",
            source="seed",
        )
