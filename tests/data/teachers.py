"""A teacher that answers the study's prompts as well, or as badly, as a test wants.

    with FakeOpenAI(Teacher(new=lambda asked: "no idea")) as server: ...

Each field answers one prompt, whose data it is given; what is not replaced is answered well, and
differently for every request.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chat.server import Answer, Call


@dataclass(frozen=True)
class Asked:
    """The data under prompt 2 or 3: the task, and the one shown as its example."""

    task: dict[str, Any]
    example: dict[str, Any] | None = None


def jsonl(*rows: Any) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def instance(text: str) -> dict[str, str]:
    return {"input": f"input of {text}", "output": f"output of {text}"}


def good_pairs(shown: list[dict[str, str]]) -> str:
    return jsonl(
        *(
            {"name": f"new_{each['name']}", "instruction": f"New: {each['instruction']}"}
            for each in shown
        )
    )


def good_additions(asked: Asked) -> str:
    fresh = [instance(f"{asked.task['name']}, more {number}") for number in range(2)]
    return jsonl(asked.task | {"instances": asked.task["instances"] + fresh})


def good_instances(asked: Asked) -> str:
    fresh = [instance(f"{asked.task['name']}, {number}") for number in range(5)]
    return jsonl(asked.task | {"instances": fresh})


def good_rewriting(prompt: str) -> str:
    return f"Longer, as {hashlib.sha256(prompt.encode()).hexdigest()[:8]} asks."


@dataclass(frozen=True)
class Teacher:
    pairs: Callable[[list[dict[str, str]]], str | Answer] = good_pairs
    more: Callable[[Asked], str | Answer] = good_additions
    new: Callable[[Asked], str | Answer] = good_instances
    longer: Callable[[str], str | Answer] = good_rewriting

    def __call__(self, call: Call) -> str | Answer:
        prompt = call.last_message
        _, *data = prompt.split("\n")
        if prompt.startswith("Following are some examples"):
            return self.pairs([json.loads(line) for line in data])
        if prompt.startswith("Following is a JSON line"):
            return self.more(Asked(json.loads(data[0])))
        if prompt.startswith("Following data is"):
            example, task = (line.split(": ", 1)[1] for line in data)
            return self.new(Asked(json.loads(task), json.loads(example)))
        assert prompt.startswith("Given is a question-answer task")
        return self.longer(prompt)


def seed_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"seed_task_{number}",
            "name": f"task_{number}",
            "instruction": f"Do number {number}.",
            "instances": [{"input": "", "output": f"Done: {number}."}],
            "is_classification": False,
        }
        for number in range(count)
    ]
