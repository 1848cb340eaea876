"""How rows of instruction data sets are laid out, and what becomes of a row in each layout.

    alpaca             instruction, input, output; perhaps system and history, as LLaMA-Factory has
    prompt_completion  prompt and completion (or response): texts, or lists of messages as TRL has
    messages           messages: [{role, content}, …]
    sharegpt           conversations: [{from, value}, …]

A row that cannot be read as it was meant is not read in another way: no turn is left out, put in
another's place or taken for another's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mini_lima.data.tables import HALF_A_CHARACTER, Malformed

Layout = Literal["alpaca", "prompt_completion", "messages", "sharegpt"]
NEEDS: Mapping[Layout, str] = {
    "alpaca": "instruction and output",
    "prompt_completion": "prompt and completion or response",
    "messages": "messages, a list of {role, content}",
    "sharegpt": "conversations, a list of {from, value}",
}
CONVERSATION = ("messages", "conversations", "conversation")
KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}
ROLES = {
    "messages": {"user": "user", "assistant": "assistant", "system": "system"},
    "sharegpt": {
        **{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"},
        "system": "system",
    },
}
COLUMNS = (
    *("id", "instruction", "input", "output", "system", "history"),
    *("prompt", "completion", "response", *CONVERSATION),
)
"""Names under which a layout looks for something."""
TOOLS = ("tools", "functions", "tool_calls", "function_call", "tool_call_id")
MEDIA = ("image", "images", "video", "videos", "audio", "audios", "image_url", "input_audio")
NO_TEXT = {*TOOLS, *MEDIA}
SUPERVISION = ("weight", "loss", "train", "loss_weight")
"""What fine-tuning services call the key that says whether an answer is trained on."""


@dataclass(frozen=True)
class Dialogue:
    """What a row says.

    Attributes:
        turns: (user, assistant), oldest first; at least one.
        input: ReportData of the last user turn.
        system: The system message; empty for none.
        used: The columns that this was read from.
        turn_fields: What else the turns said about themselves, if any did.
    """

    turns: Sequence[tuple[str, str]]
    used: frozenset[str]
    input: str = ""
    system: str = ""
    turn_fields: Sequence[Mapping[str, Any]] = field(default=())


class Unreadable(Exception):  # noqa: N818 - it is caught where the row is, and is no error then
    """A row is not what its layout has; `Malformed` says where and why."""

    def __init__(self, reason: str, field: str, told: str) -> None:
        super().__init__(told)
        self.malformed = Malformed(reason, f"{field}: {told}" if field else told)


def fitting(row: Mapping[str, Any]) -> Iterator[Layout]:
    """Yield the layouts that ``row`` may be in, by its columns."""
    if {"instruction", "output"} <= row.keys():
        yield "alpaca"
    if "prompt" in row and ("completion" in row or "response" in row):
        yield "prompt_completion"
    for key in CONVERSATION:
        turns = row.get(key)
        if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
            yield from (layout for layout in KEYS if KEYS[layout][0] in turns[0])  # type: ignore[misc]


def read_row(row: Any, layout: Layout) -> Dialogue:
    """Return what ``row`` says.

    Raises:
        Unreadable: it is not in that layout, or holds what an example cannot.
    """
    if not isinstance(row, Mapping):
        raise Unreadable("not an object", "", f"an object was expected, found {_kind(row)}")
    for key in sorted(NO_TEXT & row.keys()):
        _refuse_unless_empty(row[key], key, "")
    if layout == "alpaca":
        return _alpaca(row)
    if layout == "prompt_completion":
        return _prompt_completion(row)
    key = next((key for key in CONVERSATION if key in row), CONVERSATION[layout == "sharegpt"])
    return _conversation(row, [(key, row.get(key))], layout)


def _alpaca(row: Mapping[str, Any]) -> Dialogue:
    turns = []
    history = row.get("history")
    if history is not None and not isinstance(history, list):
        raise Unreadable("not a list", "history", f"a list was expected, found {_kind(history)}")
    for number, pair in enumerate(history or ()):
        where = f"history[{number}]"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unreadable("not a pair of turns", where, "[user, assistant] was expected")
        user, assistant = (_said(text, f"{where}[{n}]") for n, text in enumerate(pair))
        turns.append((user, assistant))
    turns.append((_said_in(row, "instruction"), _said_in(row, "output")))
    used = frozenset({"instruction", "input", "output", "system", "history"})
    return Dialogue(turns, used, _optional(row, "input"), _optional(row, "system"))


def _prompt_completion(row: Mapping[str, Any]) -> Dialogue:
    answer = "completion" if "completion" in row else "response"
    parts = [("prompt", row.get("prompt")), (answer, row.get(answer))]
    if all(isinstance(part, list) for _, part in parts):
        return _conversation(row, parts, "messages")
    turn = (_said_in(row, "prompt"), _said_in(row, answer))
    return Dialogue(
        [turn], frozenset({"prompt", answer, "system"}), system=_optional(row, "system")
    )


def _conversation(
    row: Mapping[str, Any], parts: Sequence[tuple[str, Any]], layout: str
) -> Dialogue:
    """Read a conversation whose turns are in these columns, one after the other."""
    said: list[tuple[str, str, str]] = []
    more: list[Mapping[str, Any]] = []
    for column, turns in parts:
        if not isinstance(turns, list):
            found = _kind(turns) if column in row else "nothing"
            raise Unreadable("not a list", column, f"a list of turns was expected, found {found}")
        for number, turn in enumerate(turns):
            where = f"{column}[{number}]"
            said.append((where, *_turn(turn, where, layout)))
            more.append({k: v for k, v in turn.items() if k not in KEYS[layout] and not _empty(v)})
    columns = ", ".join(column for column, _ in parts)
    system = _optional(row, "system")
    if said and said[0][1] == "system":
        where, _, text = said.pop(0)
        if system and system != text:
            raise Unreadable("two system messages", where, "the column system has another one")
        system = text
    turns_read: list[tuple[str, str]] = []
    asked = ""
    for number, (where, role, text) in enumerate(said):
        expected = ("user", "assistant")[number % 2]
        if role == "system":
            raise Unreadable("system message inside", where, "a system message only comes first")
        if role != expected and number == 0:
            raise Unreadable("begins with the assistant", where, "the user's turn was expected")
        if role != expected:
            raise Unreadable("two turns of one role", where, f"the {role} has just spoken")
        if not text.strip():
            raise Unreadable("empty text", where, "it is empty")
        if role == "assistant":
            turns_read.append((asked, text))
        asked = text
    if len(said) % 2:
        raise Unreadable("ends with the user", said[-1][0], "the assistant does not answer it")
    if not turns_read:
        raise Unreadable("no turns", columns, "there is no turn in it")
    used = frozenset({*(column for column, _ in parts), "system"})
    return Dialogue(turns_read, used, system=system, turn_fields=more if any(more) else ())


def _turn(turn: Any, where: str, layout: str) -> tuple[str, str]:
    """Return role and text of a turn."""
    role_key, text_key = KEYS[layout]
    if not isinstance(turn, Mapping):
        raise Unreadable("not a turn", where, f"an object was expected, found {_kind(turn)}")
    for key in sorted(NO_TEXT & turn.keys()):
        _refuse_unless_empty(turn[key], key, f"{where}.")
    for key in SUPERVISION:
        if turn.get(key) not in (None, True, 1):
            raise Unreadable(
                "not to be trained on", f"{where}.{key}", f"{turn[key]!r:.20}: a turn is trained on"
            )
    role = turn.get(role_key)
    roles = ROLES[layout]
    if not isinstance(role, str) or role not in roles:
        told = f"{role!r:.40} is none of {', '.join(roles)}"
        raise Unreadable("unknown role", f"{where}.{role_key}", told)
    return roles[role], _content(turn.get(text_key), f"{where}.{text_key}")


def _content(content: Any, where: str) -> str:
    """Return the text of a turn, which may be given in parts."""
    if not isinstance(content, list):
        return _text(content, where)
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("text", None) or (kind is None and not isinstance(part, str)):
            told = f"a text was expected, found {kind or _kind(part)!r:.40}"
            raise Unreadable("a part that is no text", f"{where}[{number}]", told)
        text, inner = (part, "") if isinstance(part, str) else (part.get("text"), ".text")
        texts.append(_text(text, f"{where}[{number}]{inner}"))
    return "".join(texts)


def _said_in(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        raise Unreadable("no text", key, "there is none")
    return _said(row[key], key)


def _said(value: Any, where: str) -> str:
    text = _text(value, where)
    if not text.strip():
        raise Unreadable("empty text", where, "it is empty")
    return text


def _optional(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if value is None else _text(value, key)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Unreadable("no text", where, f"a text was expected, found {_kind(value)}")
    if HALF_A_CHARACTER.search(value):
        told = "half of a character: an escape \\ud800 to \\udfff that stands alone"
        raise Unreadable("half of a character", where, told)
    return value


def _refuse_unless_empty(value: Any, key: str, prefix: str) -> None:
    if _empty(value) or value in ("[]", "null"):
        return
    reason = "tools" if key in TOOLS else "not text alone"
    what = "tools" if key in TOOLS else "images or sounds"
    raise Unreadable(reason, f"{prefix}{key}", f"a text model is not trained on {what} here")


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    names |= {type(None): "null", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
