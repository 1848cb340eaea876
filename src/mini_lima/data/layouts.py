"""How rows of instruction data sets are laid out, and what becomes of a row in each layout.

    alpaca             instruction, input, output; perhaps system and history, as LLaMA-Factory has
    prompt_completion  prompt and completion (or response): texts, with what alpaca may have besides;
                       or lists of messages as TRL has
    messages           messages: [{role, content}, …]
    sharegpt           conversations: [{from, value}, …]

A row that cannot be read as it was meant is not read in another way: no turn is left out, put in
another's place or taken for another's.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict  # pydantic asks for it below Python 3.12

from mini_lima.files import Text, adapter_of, problems
from mini_lima.files.tables import HALF_A_CHARACTER, Malformed, empty

Layout = Literal["alpaca", "prompt_completion", "messages", "sharegpt"]
NEEDS: Mapping[Layout, str] = {
    "alpaca": "instruction and output",
    "prompt_completion": "prompt and completion or response",
    "messages": "messages, a list of {role, content}",
    "sharegpt": "conversations, a list of {from, value}",
}
CONVERSATION = ("messages", "conversations", "conversation")
COLUMNS = (
    *("id", "instruction", "input", "output", "system", "history"),
    *("prompt", "completion", "response", *CONVERSATION),
)
"""Names under which a layout looks for something."""
SPEAKERS = {"human": "user", "gpt": "assistant"}
"""What ShareGPT calls them, which also has user, assistant and system."""
TOOLS = ("tools", "functions", "tool_calls", "function_call", "tool_call_id")
MEDIA = ("image", "images", "video", "videos", "audio", "audios", "image_url", "input_audio")
SUPERVISION = ("weight", "loss", "train", "loss_weight")
"""What fine-tuning services call the key that says whether an answer is trained on."""


class Alpaca(TypedDict):
    """A row of that layout."""

    instruction: Text
    output: Text
    input: NotRequired[str | None]
    system: NotRequired[str | None]
    history: NotRequired[list[Annotated[list[Text], Len(2, 2)]] | None]


class PromptCompletion(TypedDict):
    """A row of that layout, with ``response`` under the other name."""

    prompt: Text
    completion: Text
    input: NotRequired[str | None]
    system: NotRequired[str | None]
    history: NotRequired[list[Annotated[list[Text], Len(2, 2)]] | None]


class System(TypedDict):
    """What a row may have beside a conversation."""

    system: NotRequired[str | None]


class Message(TypedDict):
    """A turn of the layout ``messages``."""

    role: Literal["user", "assistant", "system"]
    content: str


Speech = TypedDict(
    "Speech",
    {"from": Literal["human", "user", "gpt", "assistant", "system"], "value": str},
)
"""A turn of the layout ``sharegpt``."""
TURNS = {"messages": dict[str, list[Message]], "sharegpt": dict[str, list[Speech]]}
KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}


@dataclass(frozen=True)
class Dialogue:
    """What a row says.

    Attributes:
        turns: (user, assistant), oldest first; at least one.
        input: Material of the last user turn.
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
    """A row is not what its layout has; `malformed` says where and why."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        reason = re.sub(r"\[\d+\]", "[]", told.partition(", found ")[0])
        self.malformed = Malformed(reason, told)


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
        raise Unreadable(f"an object was expected, found {row!r:.40}")
    _refuse_other_than_text(row, "")
    if layout == "alpaca":
        return _single(
            _checked(Alpaca, row), "instruction", "output", frozenset(Alpaca.__annotations__)
        )
    if layout == "prompt_completion":
        answer = "completion" if "completion" in row else "response"
        if isinstance(row.get("prompt"), list) and isinstance(row.get(answer), list):
            return _conversation(row, ("prompt", answer), "messages")
        found = _checked(PromptCompletion, {**row, "completion": row.get(answer)})
        used = frozenset(PromptCompletion.__annotations__) - {"completion"} | {answer}
        return _single(found, "prompt", "completion", used)
    usual = CONVERSATION[layout == "sharegpt"]
    return _conversation(row, (next((key for key in CONVERSATION if key in row), usual),), layout)


def _single(found: Mapping[str, Any], question: str, answer: str, used: frozenset[str]) -> Dialogue:
    """Return a question with its answer, and the turns before them."""
    earlier = [(user, assistant) for user, assistant in found.get("history") or ()]
    turns = [*earlier, (found[question], found[answer])]
    return Dialogue(turns, used, found.get("input") or "", found.get("system") or "")


def _conversation(row: Mapping[str, Any], columns: Sequence[str], layout: str) -> Dialogue:
    """Read a conversation whose turns are in these columns, one after the other."""
    role_key, text_key = KEYS[layout]
    given = {column: _plain_turns(row.get(column), column, text_key) for column in columns}
    checked = _checked(TURNS[layout], given)
    said = [
        (f"{column}[{number}]", SPEAKERS.get(turn[role_key], turn[role_key]), turn[text_key])
        for column, turns in checked.items()
        for number, turn in enumerate(turns)
    ]
    more = [
        {key: value for key, value in turn.items() if key not in KEYS[layout] and not empty(value)}
        for turns in given.values()
        for turn in turns
    ]
    system = _checked(System, row).get("system") or ""
    if said and said[0][1] == "system":
        where, _, text = said.pop(0)
        if system and system != text:
            raise Unreadable(f"{where}: the column system has another system message")
        system = text
    turns = _pairs(said, " and ".join(columns))
    used = frozenset({*columns, "system"})
    return Dialogue(turns, used, system=system, turn_fields=more if any(more) else ())


def _pairs(said: Sequence[tuple[str, str, str]], columns: str) -> list[tuple[str, str]]:
    """Return (user, assistant) of turns (place, role, text) that take turns in this order."""
    for number, (where, role, text) in enumerate(said):
        if role == "system":
            raise Unreadable(f"{where}: a system message only comes first")
        if role != ("user", "assistant")[number % 2]:
            told = f"the {role} has just spoken" if number else "the user's turn was expected"
            raise Unreadable(f"{where}: {told}")
        if not text.strip():
            raise Unreadable(f"{where}: must not be blank")
    if not said:
        raise Unreadable(f"{columns}: there is no turn in it")
    if len(said) % 2:
        raise Unreadable(f"{said[-1][0]}: the assistant does not answer it")
    texts = [text for *_, text in said]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _plain_turns(turns: Any, column: str, text_key: str) -> Any:
    """Return ``turns`` with texts that are given in parts joined, and nothing else changed."""
    if not isinstance(turns, list):
        return turns
    found = []
    for number, turn in enumerate(turns):
        if isinstance(turn, Mapping):
            where = f"{column}[{number}]."
            _refuse_other_than_text(turn, where)
            for key in SUPERVISION:
                if turn.get(key) not in (None, True, 1):
                    raise Unreadable(f"{where}{key}: a turn is trained on, found {turn[key]!r:.20}")
            parts = turn.get(text_key)
            if isinstance(parts, list):
                texts = [each.get("text") if _is_text(each) else each for each in parts]
                if all(isinstance(each, str) for each in texts):
                    turn = {**turn, text_key: "".join(texts)}
        found.append(turn)
    return found


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text"


def _checked(kind: Any, value: Any) -> Any:
    from pydantic import ValidationError

    try:
        found = adapter_of(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise Unreadable(problems(error)[0]) from None
    if HALF_A_CHARACTER.search(json.dumps(found, ensure_ascii=False)):
        raise Unreadable("half of a character: an escape \\ud800 to \\udfff that stands alone")
    return found


def _refuse_other_than_text(row: Mapping[str, Any], prefix: str) -> None:
    for key in sorted({*TOOLS, *MEDIA} & row.keys()):
        if not empty(row[key]) and row[key] not in ("[]", "null"):
            what = "tools" if key in TOOLS else "images or sounds"
            raise Unreadable(f"{prefix}{key}: a text model is not trained on {what} here")
