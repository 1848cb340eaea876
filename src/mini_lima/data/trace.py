"""The chain behind one example, from the seed tasks to the final text, as a person reads it.

An example carries the keys of the requests that it came from; the response cache holds what was
asked and answered under them. Nothing here is guessed: where the cache does not have a reply any
more, that is said, and the chain goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mini_lima.chat import CassetteEntry, ResponseCache
from mini_lima.data.examples import Example, read_examples
from mini_lima.errors import UserError
from mini_lima.files import read_json

Lookup = Callable[[str], CassetteEntry | None]
RESPONSES = "responses.sqlite"


def trace(data_set: Path, example_id: str, cache: Path) -> str:
    """Return the chain of ``example_id`` in the finished ``data_set``.

    Raises:
        UserError: there is no such data set, example or cache.
    """
    for file in (data_set / "examples.jsonl", cache):
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    examples = read_examples(data_set)
    example = next((each for each in examples if each.id == example_id), None)
    if example is None:
        raise UserError(
            f"{data_set}: no example {example_id!r}; the first is {examples[0].id!r}, and"
            " rejects.jsonl says of the others why they are not there"
        )
    stats = read_json(data_set / "stats.json")
    naive = stats.get("naive_endpoint", stats["endpoint"])
    with ResponseCache(cache, stats["endpoint"]) as last, ResponseCache(cache, naive) as first:
        return "\n".join(chain(example, first.entry, last.entry))


def chain(example: Example, naive: Lookup, last: Lookup) -> Iterator[str]:
    """Yield the lines of the chain.

    Args:
        example: Whose chain it is.
        naive: Finds what was asked and answered in prompts 1 to 3.
        last: The same of the prompt that gave the output.
    """
    yield f"example {example.id}: task {example.task} ({example.name})"
    if example.task_request is None:
        yield f"\n1. seed task {example.task}"
    else:
        yield f"\n1. new task {example.task}, from prompt 1"
        yield from _exchange(example.task_request, naive)
    yield from _quoted("instruction", example.instruction)
    yield from _quoted("input", example.input)

    improved = example.naive_output is not None
    source = example.naive_source if improved else example.source
    request = example.naive_request if improved else example.request
    output = example.naive_output if improved else example.output
    shown = f", which showed {example.shown} as its example" if example.shown else ""
    yield f"\n2. {'naive output' if improved else 'output'}, from {source}{shown}"
    if request is None:
        yield "   as the seed task has it; nobody was asked"
    else:
        yield from _exchange(request, naive)
    assert output is not None
    yield from _quoted("output", output)

    if improved:
        yield f"\n3. improved output, from {example.source}"
        assert example.request is not None
        yield from _exchange(example.request, last)
        yield from _quoted("output", example.output)


def newest_data_set(store: Path, example_id: str) -> Path:
    """Return the data set in ``store`` that was finished last and has ``example_id``.

    Raises:
        UserError: there is none.
    """
    finished = list(store.glob("data/*/examples.jsonl"))
    for file in sorted(finished, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        if any(each.id == example_id for each in read_examples(file.parent)):
            return file.parent
    raise UserError(
        f"no example {example_id!r} in the {len(finished)} data sets of {store}: check the id, or"
        " give the data set's folder with --data"
    )


def _exchange(key: str, lookup: Lookup) -> Iterator[str]:
    entry = lookup(key)
    if entry is None:
        yield f"   request {key}: not in the response cache any more"
        return
    yield f"   request {key}"
    for message in entry.body["messages"]:
        yield from _quoted(f"prompt ({message['role']})", message["content"])
    choice: dict[str, Any] = entry.response["choices"][0]
    served = entry.response.get("model") or "a model that is not named"
    yield from _quoted(
        f"reply of {served} (finish_reason {choice.get('finish_reason')})",
        choice["message"].get("content") or "",
    )


def _quoted(label: str, text: str) -> Sequence[str]:
    lines = text.split("\n") if text else ["(empty)"]
    return [f"   {label}:", *(f"   │ {line}" for line in lines)]
