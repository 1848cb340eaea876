"""What parsing and filtering replies costs: python benchmarks/data.py

2,000 examples in 400 replies to prompt 3, a third of them messy, and the 400 tasks before them in
replies to prompt 1, with all filters on; then 2,000 rewritings of prompt 4, the figures of the
data-set card, and the longest reply of which an attempt to repair it is made.
"""

import json
import random
import time

from mini_lima.chat import Reply
from mini_lima.data.examples import Example, StepReport
from mini_lima.data.filters import (
    Filters,
    RewritingFilters,
    TaskFilter,
    new_instances,
    new_tasks,
    rewriting_objection,
)
from mini_lima.data.measures import counts
from mini_lima.data.parsing import pairs
from mini_lima.data.seeds import Instance, Task
from mini_lima.text.language import languages

EXAMPLES, PER_TASK, PER_REPLY, REPEATS = 2_000, 5, 6, 3
VOCABULARY = 5_000
TARGET = 2.0
draw = random.Random(0)


def text(words):
    """So many words, a third of them the small ones that English is made of."""
    small = ("the", "of", "and", "to", "in", "is", "for", "that")
    return " ".join(
        draw.choice(small) if draw.random() < 0.35 else f"word{draw.randrange(VOCABULARY)}"
        for _ in range(words)
    )


def reply(rows, number, *, messy=False):
    lines = [json.dumps(row) for row in rows]
    if messy:  # trailing commas, numbering, a fence and a remark
        lines = [f"{n}. {line[:-1]},}}" for n, line in enumerate(lines, 1)]
        lines = ["Sure! Here you are:", "```json", *lines, "```"]
    return Reply(f"key {number}", "\n".join(lines), "stop", "m", None, cached=True)


def data():
    count = EXAMPLES // PER_TASK
    seeds = [
        Task(f"seed_{n}", f"seed_{n}", text(15), (Instance(text(10), text(40)),))
        for n in range(count)
    ]
    asked = [{"name": f"task_{n}", "instruction": text(15)} for n in range(count)]
    about_tasks = [
        reply(asked[at : at + PER_REPLY], at, messy=at % 3 == 0)
        for at in range(0, count, PER_REPLY)
    ]
    about_instances = [
        reply(
            [{"input": text(20), "output": text(60)} for _ in range(PER_TASK)], n, messy=n % 3 == 0
        )
        for n in range(count)
    ]
    return seeds, about_tasks, about_instances


def naive(seeds, about_tasks, about_instances):
    task_filter, made, used = TaskFilter(Filters(), seeds), [], []
    for each in about_tasks:
        made += new_tasks(each, task_filter=task_filter, earlier=made, wanted=len(seeds))[0]
    for task, each, seed in zip(made, about_instances, seeds, strict=True):
        fresh, _ = new_instances(
            each,
            task=task,
            wanted=PER_TASK,
            prompt="prompt 3",
            task_filter=task_filter,
            example=seed,
        )
        used += [(task, instance) for instance in fresh]
    return used


def rewritings(used):
    expected, example = languages(task.instruction for task, _ in used), (text(10), text(50))
    outputs = [Reply("key", text(120), "stop", "m", None, cached=True) for _ in used]
    begun = time.perf_counter()
    for (task, instance), output in zip(used, outputs, strict=True):
        rewriting_objection(
            output,
            before=instance.output,
            given=f"{task.instruction}\n{instance.input}",
            example=example,
            expected=expected,
            on=RewritingFilters(),
        )
    return time.perf_counter() - begun


def figures(used):
    examples = [
        Example(str(n), t.instruction, i.output, i.input, task=t.id, source="prompt 3")
        for n, (t, i) in enumerate(used)
    ]
    begun = time.perf_counter()
    counts("naive", examples, [], StepReport(requests={"prompt 3": len(used)}))
    return time.perf_counter() - begun


def main():
    made, times = data(), []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        used = naive(*made)
        times.append(time.perf_counter() - begun)
    assert len(used) == EXAMPLES, len(used)
    took, longer = min(times), min(rewritings(used) for _ in range(REPEATS))
    verdict = "kept" if max(took, longer) < TARGET else "MISSED"
    print(
        f"parsing and filtering {EXAMPLES:,} examples: {took:.2f} s (the first time {times[0]:.2f})"
    )
    print(f"filtering {EXAMPLES:,} rewritings: {longer:.2f} s; target of {TARGET:.0f} s {verdict}")
    print(f"figures of the card: {figures(used):.2f} s")
    begun = time.perf_counter()
    pairs("{" * 100_000 + "}" * 100_000)
    print(f"a reply of 100,000 braces that open and close: {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    main()
