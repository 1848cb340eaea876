"""Teacher replies to data: take what is whole, say why the rest cannot be used.

A reply is searched for JSON objects wherever they stand, so numbering, code fences, wrappers and
chat around them do no harm. Text inside the objects is never changed: no lower-casing, no collapsed
newlines. Objects that strict JSON refuses (single quotes, trailing commas) go through `json_repair`,
but only when their braces close: the half object at the end of a cut reply stays out.
"""

import json
from collections.abc import Iterator
from typing import Any

from mini_lima.data.seeds import Instance

EMPTY_INPUTS = {"", "<noinput>", "n/a", "na", "none", "null"}


def json_objects(text: str) -> list[dict[str, Any]]:
    """Return the outermost JSON objects of ``text`` in order. Never raises."""
    return list(_objects(text))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = _closing_brace(text, start)
            found = _repaired(text[start:end]) if end else None
        if isinstance(found, dict):
            yield found
        start = text.find("{", end or start + 1)


def _closing_brace(text: str, start: int) -> int | None:
    depth = 0
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    return None


def _repaired(text: str) -> Any:
    import json_repair

    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError):
        return None


def pairs(text: str) -> list[tuple[str, str]]:
    """Return the {name, instruction} pairs of a reply to prompt 1."""
    found = ((_text(each.get("name")), _text(each.get("instruction"))) for each in json_objects(text))
    return [(name, instruction) for name, instruction in found if name and instruction]


def instances(text: str) -> list[Instance]:
    """Return the input-output instances of a reply to prompt 2 or 3.

    The reply may hold one object with all instances, one object per instance, or the bare
    instances; an instance without an output is left out.
    """
    found: list[Instance] = []
    for row in json_objects(text):
        inner = row.get("instances", [row] if "output" in row else [])
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, dict) and (output := _text(each.get("output"))):
                given = _text(each.get("input"))
                empty = given.strip().lower() in EMPTY_INPUTS
                found.append(Instance(input="" if empty else given, output=output))
    return found


def _text(value: Any) -> str:
    """Render ``value`` as text: a teacher writes labels as numbers and answers as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, ensure_ascii=False)
