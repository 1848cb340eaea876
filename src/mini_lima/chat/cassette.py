"""Cassettes: recorded answers in one portable file.

A line joins what OpenAI's batch interface calls an input line (``custom_id``, ``method``, ``url``,
``body``) with its output line (``response``, ``error``), so that either half can be cut out and
given to any engine that speaks it. ``custom_id`` is the request's key: a line proves by itself that
its answer belongs to its request. Lines are sorted by key and written in one canonical form, so
equal recordings are equal files.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from mini_lima.chat.requests import canonical_json, read_reply, request_key
from mini_lima.errors import UserError
from mini_lima.files import write_text

METHOD = "POST"
URL: Final = "/v1/chat/completions"


@dataclass(frozen=True)
class CassetteEntry:
    """One request (``body`` as it was sent, ``sample`` index) and the body of its response.

    ``endpoint`` is the identity of who answered, where that is known.
    """

    body: dict[str, Any]
    response: dict[str, Any]
    sample: int = 0
    endpoint: str | None = None

    @cached_property
    def key(self) -> str:
        """The key of the request."""
        return request_key(self.body, self.sample)


def completion_body(text: str, *, model: str, finish_reason: str = "stop") -> dict[str, Any]:
    """The least that is a ``chat.completion``: what ``model`` wrote, and no made-up usage or id."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"object": "chat.completion", "model": model, "choices": [choice]}


def write_cassette(path: Path, entries: Iterable[CassetteEntry]) -> None:
    """Write ``entries`` to ``path``, sorted by key; equal entries count once.

    Raises:
        ValueError: two entries answer one request differently.
    """
    lines: dict[str, str] = {}
    for entry in entries:
        line = canonical_json(
            {
                "custom_id": entry.key,
                "method": METHOD,
                "url": URL,
                "body": entry.body,
                "sample": entry.sample,
                "response": {"status_code": 200, "request_id": None, "body": entry.response},
                "error": None,
            }
            | ({} if entry.endpoint is None else {"endpoint": entry.endpoint})
        )
        if lines.setdefault(entry.key, line) != line:
            raise ValueError(f"two different answers to request {entry.key}")
    write_text(path, "".join(lines[key] + "\n" for key in sorted(lines)))


def read_cassette(path: Path) -> dict[str, dict[str, Any]]:
    """The response bodies on the cassette at ``path`` by request key; errors as `read_entries`."""
    return {entry.key: entry.response for entry in read_entries(path)}


def read_entries(path: Path) -> list[CassetteEntry]:
    """All entries of the cassette at ``path``, each checked against its key.

    Raises:
        UserError: with file and line, for what is no entry, belongs to another request than its key
            says, or occurs twice.
    """
    try:
        # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the cassette {path} cannot be read: {error}") from error
    entries: list[CassetteEntry] = []
    first_seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = _entry(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from error
        if entry.key in first_seen:
            raise UserError(
                f"{path}:{number}: request {entry.key} was already answered in line "
                f"{first_seen[entry.key]}; remove one of the two"
            )
        first_seen[entry.key] = number
        entries.append(entry)
    return entries


def _entry(line: str) -> CassetteEntry:
    """Read one line; ValueError says what is wrong with it."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    lacking = [name for name in ("custom_id", "body", "response") if name not in row]
    if lacking:
        raise ValueError(f"no {' and no '.join(lacking)}: not a line of a cassette")
    body, sample, response = row["body"], row.get("sample", 0), row["response"]
    if not isinstance(body, dict) or type(sample) is not int:
        raise ValueError("body must be a JSON object and sample a whole number")
    key = request_key(body, sample)
    if row["custom_id"] != key:
        raise ValueError(
            f"custom_id {row['custom_id']!r} is not the key of this body and sample, which is "
            f"{key}: the request was changed after it was recorded"
        )
    answered = isinstance(response, dict) and response.get("status_code") == 200
    if not answered or row.get("error") is not None:
        raise ValueError("a failed call: a cassette holds answers only")
    try:
        read_reply(key, response.get("body"), cached=True)
    except ValueError as error:
        raise ValueError(f"response.body is no chat completion: {error}") from error
    endpoint = row.get("endpoint")
    return CassetteEntry(
        body, response["body"], sample, endpoint if isinstance(endpoint, str) else None
    )
