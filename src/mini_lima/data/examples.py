"""A data set: its examples, each with where it came from, and all that was not used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mini_lima.chat import Cost
from mini_lima.files import read_jsonl


@dataclass(frozen=True)
class Example:
    """One instruction example and where it came from.

    Attributes:
        id: The task's id and the instance's place in it.
        task: The task's id.
        name: The task's name.
        instruction: The task's instruction.
        input: Empty where the instruction stands alone.
        output: What a model is to answer.
        source: ``seed``, or the prompt whose reply holds the output.
        request: Key in the response cache of that reply.
        task_request: Key of the reply to prompt 1 that the task is from; None for a seed task.
        shown: Id of the seed task that prompt 3 showed as its example.
        is_classification: As the seed task says; None for a task of the teacher's.
        naive_source: Of an improved example: its naive example's ``source``,
        naive_request: ``request``
        naive_output: and ``output``.
    """

    id: str
    task: str
    name: str
    instruction: str
    input: str
    output: str
    source: str
    request: str | None
    task_request: str | None = None
    shown: str | None = None
    is_classification: bool | None = None
    naive_source: str | None = None
    naive_request: str | None = None
    naive_output: str | None = None


@dataclass(frozen=True)
class Reject:
    """A reply, or a part of one, that is not used.

    Attributes:
        reason: The prompt, and the reason code of a filter or the fault of a reply.
        asked_for: Id of the task or example that the reply was to serve; prompt 1 has none.
        request: Key in the response cache of the reply.
        text: As it was written.
        detail: What in particular the filter found.
        is_note: About the reply as a whole, parts of which may be used: nothing is missing for it.
    """

    reason: str
    asked_for: str | None
    request: str
    text: str
    detail: str = ""
    is_note: bool = False


@dataclass(frozen=True)
class DataSet:
    """What a data method made, by whom, with how many requests per prompt."""

    method: str
    examples: Sequence[Example]
    rejects: Sequence[Reject]
    requests: Mapping[str, int]
    teacher: str
    """Name of the model."""
    endpoint: str
    """Identity of the endpoint, under which the response cache keeps the replies."""
    cost: Cost = field(default_factory=Cost)
    """What the replies did cost when they were made."""
    new_tasks: int = 0
    """Tasks that prompt 1 brought."""


def read_examples(data_set: Path) -> list[Example]:
    """Return the examples of a finished data set in their order."""
    return [Example(**row) for row in read_jsonl(data_set / "examples.jsonl")]
