"""JSON in the middle of a chat: numbering, code fences, wrappers and remarks around it do no harm.

Whatever strict JSON reads is taken as it is. What it refuses (single quotes, trailing commas, quotes
that are not escaped) goes through `json_repair` under two conditions: its brace must close outside
of quoted text, so that the half object at the end of a cut reply stays out; and the repair must keep
every letter, because that library rather drops a piece than gives up.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

# Inside braces a quote opens a string only behind one of these, and closes it only before one: so a
# bare quote or brace within a sentence counts as text. A line that begins a new object ends a string
# that nobody closed.
TOKEN = re.compile(r"""([{\[,:])\s*(["'])?|\}""")
STRING = {
    quote: re.compile(
        rf"(?:[^\\\n{quote}]|\\.|{quote}(?!\s*[,:}}\]])|\n(?![ \t\d.)]*\{{[ \t]*[\"']))*+({quote})?",
        re.DOTALL,
    )
    for quote in "\"'"
}


def pieces(text: str) -> Iterator[tuple[str, Any]]:
    """Return what in ``text`` is JSON, each part with its value, in order. Never raises.

    A part that looks like JSON and cannot be read comes with None; so does all of a ``text`` in
    which no brace opens. Takes time in proportion to the length of ``text``.
    """
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_split_at_repeated_keys)
    closing: dict[int, int] | None = None
    torn: int | None = None
    repaired_up_to = 0
    start = text.find("{")
    if start < 0:
        yield text, None
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            closing = _closing_braces(text, start) if closing is None else closing
            end = closing.get(start, 0)
            value = _repaired(text[start:end]) if end > repaired_up_to else None
            repaired_up_to = max(repaired_up_to, end)
        if value is None:
            torn = start if torn is None else torn
            start = text.find("{", start + 1)
        else:
            if torn is not None:
                yield text[torn:start], None
            yield text[start:end], value
            torn, start = None, text.find("{", end)
    if torn is not None:
        yield text[torn:], None


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
    never_closed = {"'": 0, '"': 0}
    while token := TOKEN.search(text, start):
        start = token.end()
        quote = token[2]
        if token[0] == "}":
            if opened:
                ends[opened.pop()] = start
            continue
        if token[1] == "{":
            opened.append(token.start())
        if quote and opened and start > never_closed[quote]:
            string = STRING[quote].match(text, start)
            assert string is not None
            if string[1]:
                start = string.end()
            else:
                never_closed[quote] = string.end()
    return ends


def _repaired(text: str) -> Any:
    """Read malformed JSON, None where that is impossible or loses text."""
    import json_repair

    try:
        value = json_repair.loads(text)
        kept = _letters(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and kept >= _letters(text) else None


def _letters(json_text: str) -> int:
    return len(re.findall(r"[^\W\d_]", re.sub(r"\\u[0-9a-fA-F]{4}|\\.", "", json_text)))
