"""A data set: its examples, each with where it came from, and all that was not used."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat import Cost
from mini_lima.files import Text, read_rows, write_jsonl

EXAMPLES = "examples.jsonl"


@dataclass(frozen=True)
class Earlier:
    """What an example's output was before a step changed it.

    Attributes:
        output: The text.
        source: What wrote it, as `Example.source`.
        request: Key in the response cache of the reply that holds it, if it is from one.
    """

    output: str
    source: str
    request: str | None = None


@dataclass(frozen=True)
class Example:
    """One instruction example and where it came from.

    Attributes:
        id: Its name through all steps. Of a generated one the task's id and its place there.
        instruction: What the (last) user turn asks.
        output: What a model is to answer.
        input: The material of the instruction; empty where it stands alone.
        system: The system message; empty for none.
        history: Earlier turns, oldest first: (user, assistant).
        task: What examples of one task have in common; its own id where nothing else is known.
        name: The task's name.
        source: What wrote the output: ``seed``, a prompt of the study, or the name of a step.
        request: Key in the response cache of the reply that holds the output.
        task_request: Key of the reply to prompt 1 that the task is from; None for a seed task.
        shown: Id of the seed task that prompt 3 showed as its example.
        is_classification: As the seed task says; None where nobody does.
        earlier: What the output was before steps changed it, oldest first.
        fields: What else the row of a file said about it.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for it

    id: str
    instruction: Text
    output: Text
    input: str = ""
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()
    task: str = ""
    name: str = ""
    source: str = ""
    request: str | None = None
    task_request: str | None = None
    shown: str | None = None
    is_classification: bool | None = None
    earlier: tuple[Earlier, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """A reply, or a part of one, that is not used; or an example that a step left out.

    Attributes:
        reason: The reason code of a filter, or the fault of a reply.
        asked_for: Id of the task or example that the reply was to serve; prompt 1 has none.
        request: Key in the response cache of the reply; None if it is from none.
        text: As it was written.
        detail: What in particular the filter found.
        is_note: About the reply as a whole, parts of which may be used: nothing is missing for it.
        prompt: Which prompt's reply it is; left empty, the step's name.
    """

    reason: str
    asked_for: str | None
    request: str | None
    text: str
    detail: str = ""
    is_note: bool = False
    prompt: str = ""


@dataclass(frozen=True)
class StepReport:
    """What a step has to say; one that only wrote its examples returns None.

    Attributes:
        examples: What it made, if it has not written them itself.
        rejects: All that it did not use.
        requests: How many requests it made, by prompt.
        asked_for: How much a prompt was to bring, where that is not an example for each request; of
            a file, its rows, under the step's name.
        used: What came of a prompt's replies, where that is not examples: tasks, for prompt 1.
        cost: What the replies did cost when they were made.
        teacher: Name of the model that was asked.
        endpoint: Identity of its endpoint, under which the response cache keeps the replies.
        figures: Numbers of its own, for stats.json.
    """

    examples: Sequence[Example] | None = None
    rejects: Sequence[Reject] = ()
    requests: Mapping[str, int] = field(default_factory=dict)
    asked_for: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    cost: Cost | None = None
    teacher: str | None = None
    endpoint: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


def read_examples(data_set: Path) -> list[Example]:
    """Return the examples of a finished data set in their order.

    Raises:
        UserError: a row is no example.
    """
    return [example for _, example in read_rows(data_set / EXAMPLES, Example)]


def write_examples(data_set: Path, examples: Iterable[Example]) -> None:
    """Write ``examples`` as the data set's; what a step has to leave."""
    write_jsonl(data_set / EXAMPLES, map(row_of, examples))


def row_of(example: Example) -> dict[str, Any]:
    """Return the row of examples.jsonl that ``example`` is; `asdict` would copy every text."""
    return {**vars(example), "earlier": [vars(each) for each in example.earlier]}
