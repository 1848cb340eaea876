"""Teacher replies to data: take what is whole, say why the rest cannot be used.

Text is never changed: no lower-casing, no collapsed newlines, no lost indentation. Whatever cannot
be used is returned as a `Fault` with its text, so that nothing of a reply disappears unseen.

A reply is JSON in the middle of a chat: numbering, code fences and remarks around it do no harm
(`pieces`). Whatever strict JSON reads is taken as it is. What it refuses (single quotes, trailing
commas, unescaped quotes) goes through `json_repair`, a library that rather drops a piece than gives
up. So the object's brace must close outside of quoted text, which keeps the half object at the end
of a cut reply out; no more quotes may follow on that line, or the brace belonged to a sentence; and
the repair must keep every letter.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mini_lima.data.seeds import Instance

NO_INPUT = {"noinput", "no input", "n/a", "none", "not applicable"}

# Inside braces a quote opens a string only behind one of {[,: and closes it only before one of ,:}]
# so that a bare quote or brace within a sentence counts as text.
TOKEN = re.compile(r"""([{\[,:])\s*(["'])?|\}""")
REST_OF_STRING = {
    quote: re.compile(rf"(?:[^\\{quote}]|\\.|{quote}(?!\s*[,:}}\]]))*+{quote}?", re.DOTALL)
    for quote in "\"'"
}
MOST_BRACES = 1000
"""Of a piece that is repaired, which takes json_repair about 0.2 ms for each."""
AFTER_AN_OBJECT = re.compile(r"""[^"'{\n]*(?:[\n{]|\Z)""")


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


def pieces(text: str) -> Iterator[tuple[str, Any]]:
    """Return what in ``text`` is JSON, each part with its value, in order. Never raises.

    A part that looks like JSON and cannot be read comes with None; so does all of a ``text`` in
    which no brace opens.
    """
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_split_at_repeated_keys)
    closing: dict[int, int] | None = None
    torn = -1
    tried_up_to = 0
    start, last = text.find("{"), text.rfind("}")
    if start < 0:
        yield text, None
    while 0 <= start < last:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            closing = _closing_braces(text, start) if closing is None else closing
            end = closing.get(start, 0)
            alone = end > tried_up_to and AFTER_AN_OBJECT.match(text, end)
            value = _repaired(text[start:end]) if alone else None
            tried_up_to = max(tried_up_to, end)
        if value is None:
            torn = start if torn < 0 else torn
            start = text.find("{", start + 1)
        else:
            if torn >= 0:
                yield text[torn:start], None
            yield text[start:end], value
            torn, start = -1, text.find("{", end)
    if max(torn, start) >= 0:
        yield text[torn if torn >= 0 else start :], None


def _split_at_repeated_keys(items: list[tuple[str, Any]]) -> Any:
    """Keep ``{"input": a, "output": b, "input": c, "output": d}`` whole, as two objects."""
    rows: list[dict[str, Any]] = [{}]
    for key, value in items:
        if key in rows[-1]:
            rows.append({})
        rows[-1][key] = value
    return rows if len(rows) > 1 else rows[0]


def _closing_braces(text: str, start: int) -> dict[int, int]:
    """Return where each brace that opens from ``start`` on closes, as {position: end}."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    while token := TOKEN.search(text, start):
        start = token.end()
        if token[1] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            ends[opened.pop()] = start
        if token[2] and opened and (rest := REST_OF_STRING[token[2]].match(text, start)):
            start = rest.end()
    return ends


def _repaired(text: str) -> Any:
    """Read malformed JSON, None where that is impossible, loses text or would take too long."""
    import json_repair

    if text.count("{") > MOST_BRACES:
        return None
    for read in (_python_literal, json_repair.loads):
        try:
            value = read(text)
            kept = _letters(json.dumps(value, ensure_ascii=False))
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(value, dict | list) and kept >= _letters(text):
            return value
    return None


def _python_literal(text: str) -> Any:
    with warnings.catch_warnings(action="ignore"):
        return ast.literal_eval(text)


def _letters(json_text: str) -> int:
    return len(re.findall(r"[^\W\d_]", re.sub(r"\\u[0-9a-fA-F]{4}|\\.", "", json_text)))
