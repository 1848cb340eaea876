"""Teacher replies to data: take what is whole, say why the rest cannot be used.

Text is never changed: no lower-casing, no collapsed newlines, no lost indentation. Whatever cannot
be used is returned as a `Fault` with its text, so that nothing of a reply disappears unseen.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mini_lima.data.json_in_text import pieces
from mini_lima.data.seeds import Instance

NO_INPUT = {"noinput", "no input", "n/a", "none", "not applicable"}


@dataclass(frozen=True)
class Found:
    """An instance, and the task it is said to belong to (empty where the reply does not say)."""

    instance: Instance
    name: str
    instruction: str


@dataclass(frozen=True)
class Fault:
    """A part of a reply that cannot be used, and why; a note is about the reply as a whole."""

    reason: str
    text: str
    detail: str = ""
    is_note: bool = False


def pairs(text: str) -> tuple[list[tuple[str, str]], list[Fault]]:
    """Return the {name, instruction} pairs of a reply to prompt 1. Never raises."""
    found: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for row in _rows(text, ("name", "instruction"), faults):
        name, instruction = _label(row, "name"), _label(row, "instruction")
        if name and instruction:
            found.append((name, instruction))
        else:
            lacking = "an instruction" if name else "a name"
            faults.append(Fault(f"pair without {lacking}", _text(row)))
    return found, faults


def instances(text: str) -> tuple[list[Found], list[Fault]]:
    """Return the input-output instances of a reply to prompt 2 or 3. Never raises.

    The reply may hold one object with all instances, one object per instance, or bare instances.
    """
    found: list[Found] = []
    faults: list[Fault] = []
    for row in _rows(text, ("instances", "output"), faults):
        inner = row.get("instances") or row
        for each in _flat(inner) if isinstance(inner, list) else [inner]:
            fields = _keyed(each) if isinstance(each, dict) else {}
            output = _text(fields.get("output"))
            if output.strip():
                instance = Instance(_input(fields.get("input")), output)
                found.append(Found(instance, _label(row, "name"), _label(row, "instruction")))
            else:
                faults.append(Fault("instance without an output", _text(each)))
    return found, faults


def _rows(text: str, keys: tuple[str, str], faults: list[Fault]) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects in ``text`` that have one of ``keys``; the rest are faults."""
    for piece, value in pieces(text):
        rows, waiting = 0, [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, dict) and not set(keys).isdisjoint(row := _keyed(each)):
                rows += 1
                yield row
            elif isinstance(each, dict | list):
                waiting += reversed(list(each.values() if isinstance(each, dict) else each))
        if not rows:
            reason = f"no {' or '.join(keys)} in JSON" if value is not None else "no whole JSON"
            faults.append(Fault(reason, piece))


def _flat(nested: list[Any]) -> Iterator[Any]:
    for each in nested:
        yield from each if isinstance(each, list) else [each]


def _keyed(row: dict[str, Any]) -> dict[str, Any]:
    return {str(key).strip().lower(): value for key, value in row.items()}


def _label(row: dict[str, Any], key: str) -> str:
    return _text(row.get(key)).strip()


def _input(value: Any) -> str:
    text = _text(value)
    return "" if not text.strip() or text.strip(" \n<>()[].").lower() in NO_INPUT else text


def _text(value: Any) -> str:
    """Render ``value`` as text: a teacher writes labels as numbers and answers as JSON.

    Half a surrogate pair, which an escape in JSON can smuggle in and no file can hold, becomes
    U+FFFD; a value too deep to be written becomes nothing.
    """
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
