"""The chain behind one example, from the seed tasks to the final text, as a person reads it.

An example carries the keys of the requests that it came from; the response cache holds what was
asked and answered under them. Nothing here is guessed: where the cache does not have a reply any
more, that is said, and the chain goes on.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mini_lima.chat import CassetteEntry, ResponseCache, read_reply
from mini_lima.data.examples import EXAMPLES, Earlier, Example, read_examples
from mini_lima.errors import UserError
from mini_lima.files import typed
from mini_lima.text import as_line

log = logging.getLogger(__name__)
Lookup = Callable[[str], CassetteEntry | None]
RESPONSES = "responses.sqlite"


@dataclass(frozen=True)
class _Asked:
    """What ``stats.json`` says of whom a data set's replies are from."""

    endpoints: list[str]


def trace(data_set: Path, example_id: str, cache: Path) -> str:
    """Return the chain of ``example_id`` in the finished ``data_set``.

    Raises:
        UserError: there is no such data set or example, or no cache of the replies it is from.
    """
    if not (data_set / EXAMPLES).is_file():
        raise UserError(f"{data_set / EXAMPLES}: no such file")
    examples = read_examples(data_set)
    example = next((each for each in examples if each.id == example_id), None)
    if example is None:
        first = f"the first is {examples[0].id!r}" if examples else "it has none"
        raise UserError(
            f"{data_set}: no example {example_id!r}; {first}, and rejects.jsonl says of the others"
            " why they are not there"
        )
    if not cache.is_file() and any(_requests(example)):
        raise UserError(f"{cache}: no such file")
    endpoints = typed(data_set / "stats.json", _Asked).endpoints

    def look_up(key: str) -> CassetteEntry | None:
        for endpoint in endpoints:
            with ResponseCache(cache, endpoint) as responses:
                if found := responses.entry(key):
                    return found
        return None

    return "\n".join(chain(example, look_up))


def chain(example: Example, look_up: Lookup) -> Iterator[str]:
    """Yield the lines of the chain.

    Args:
        example: Whose chain it is.
        look_up: Finds what was asked and answered under a request's key.
    """
    of_task = f" ({example.name})" if example.name else ""
    yield as_line(f"example {example.id}: task {example.task}{of_task}")
    if example.task_request is None:
        yield f"\n1. task {example.task}, as it was given"
    else:
        yield f"\n1. new task {example.task}, from prompt 1"
        yield from _exchange(example.task_request, look_up)
    yield from _quoted("system", example.system) if example.system else ()
    for number, turns in enumerate(example.history, start=1):
        for role, text in zip(("user", "assistant"), turns, strict=True):
            yield from _quoted(f"turn {number}, {role}", text)
    yield from _quoted("instruction", example.instruction)
    yield from _quoted("input", example.input)
    last = Earlier(example.output, example.source, example.request)
    for number, each in enumerate((*example.earlier, last), start=2):
        shown = f", which showed {example.shown} as its example" if example.shown else ""
        yield f"\n{number}. output, from {as_line(each.source)}{shown if number == 2 else ''}"
        if each.request is None:
            yield "   no model was asked for it"
        else:
            yield from _exchange(each.request, look_up)
        yield from _quoted("output", each.output)


def _requests(example: Example) -> Iterator[str | None]:
    """The keys of the requests behind ``example``; None where nobody was asked."""
    yield from (example.task_request, example.request, *(e.request for e in example.earlier))


def newest_data_set(store: Path, example_id: str) -> Path:
    """Return the data set in ``store`` that was finished last and has ``example_id``.

    Raises:
        UserError: there is none.
    """
    finished = [file for file in store.glob("data/*/examples.jsonl") if file.is_file()]
    unread = 0
    for file in sorted(finished, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        try:
            if any(each.id == example_id for each in read_examples(file.parent)):
                return file.parent
        except UserError as error:
            unread += 1
            log.warning("passed over: %s", str(error).partition("\n")[0])
    but = f" ({unread} of them cannot be read)" if unread else ""
    raise UserError(
        f"no example {example_id!r} in the {len(finished)} data sets of {store}{but}: check the id,"
        " or give the data set's folder with --data"
    )


def _exchange(key: str, lookup: Lookup) -> Iterator[str]:
    entry = lookup(key)
    if entry is None:
        yield f"   request {key}: not in the response cache any more"
        return
    yield f"   request {key}"
    for message in entry.request.body["messages"]:
        yield from _quoted(f"prompt ({message['role']})", message["content"])
    reply = read_reply(key, entry.response, cached=True)
    served = reply.served_model or "a model that is not named"
    if reply.thought:
        yield from _quoted(f"thought of {served}", reply.thought)
    yield from _quoted(f"reply of {served} (finish_reason {reply.finish_reason})", reply.text)


def _quoted(label: str, text: str) -> Sequence[str]:
    lines = text.split("\n") if text else ["(empty)"]
    return [f"   {as_line(label)}:", *(f"   │ {line}" for line in lines)]
