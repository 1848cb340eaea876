"""What goes to a batch interface and comes back: two files, and how the batch stands.

Requests go out in one file, answers come back in another. Any engine that speaks the format can
stand between them: OpenAI itself, vLLM's run-batch, others. ``custom_id`` is the request's key, so
an answer finds its request in whatever order it comes, and neither file needs more than the format
has: the sample index is what makes key and body agree.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.recordings import Imported
from mini_lima.chat.requests import (
    METHOD,
    URL,
    CassetteEntry,
    ChatRequest,
    canonical_json,
    read_reply,
    request_key,
)
from mini_lima.errors import UserError
from mini_lima.files import write_text

MOST_SAMPLES = 10_000
ENDED = ("completed", "failed", "expired", "cancelled")
DAY = 86_400.0
"""Seconds in which a batch ends."""


class NoAnswerError(ValueError):
    """An output line that answers nothing; the text says why.

    Attributes:
        status: Of the response, None if there was none.
        code: OpenAI's code of the error.
        parameter: The parameter that OpenAI's error names.
    """

    def __init__(self, text: str, status: Any, error: Mapping[str, Any]) -> None:
        """Take what there is; all of it was written by a server."""
        super().__init__(text)
        self.status = status if isinstance(status, int) else None
        self.code = _text_or_none(error.get("code"))
        self.parameter = _text_or_none(error.get("param"))


def input_line(request: ChatRequest, body: Mapping[str, Any]) -> str:
    """The line that asks ``request`` by sending ``body``, with its newline."""
    line = {"custom_id": request.key, "method": METHOD, "url": URL, "body": body}
    return canonical_json(line) + "\n"


def write_batch_input(path: Path, requests: Iterable[ChatRequest]) -> int:
    """Write ``requests`` to ``path`` in their order, each once; return how many."""
    lines = {request.key: input_line(request, request.body) for request in requests}
    write_text(path, "".join(lines.values()))
    return len(lines)


def import_batch(output: Path, batch_input: Path, *, endpoint: Endpoint, cache: Path) -> Imported:
    """Put the answers in ``output`` into ``cache``, as answers of ``endpoint`` made in a batch.

    Args:
        output: What an engine wrote; OpenAI's separate error file is read the same way.
        batch_input: What it was given, as `write_batch_input` wrote it.
        endpoint: Whose answers they count as from now on.
        cache: File of the response cache.

    Returns:
        What came and what did not; the latter can be asked live.

    Raises:
        UserError: with file and line, for what is no line of such a file or belongs to no request.
            Nothing is imported then.
    """
    requests = _requests(batch_input)
    done = Imported()
    answers: dict[str, CassetteEntry] = {}
    for where, row in _rows(output):
        key = row.get("custom_id")
        if not isinstance(key, str) or key not in requests:
            raise UserError(f"{where}: custom_id {key!r} is not in {batch_input}")
        try:
            answers[key] = CassetteEntry(requests[key][0], answer(key, row), requests[key][1])
        except NoAnswerError as error:
            done.failed[key] = str(error)[:200]
    with ResponseCache(cache, endpoint.identity) as kept:
        for entry in answers.values():
            done.count(is_new=kept.put_entry(entry, {"batch": True}))
    done.failed = {key: why for key, why in done.failed.items() if key not in answers}
    done.missing = [key for key in requests if key not in answers and key not in done.failed]
    return done


def answer(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The completion in the output line ``row`` of request ``key``.

    Raises:
        NoAnswerError: there is none.
    """
    response, error = row.get("response"), row.get("error")
    body = response.get("body") if isinstance(response, dict) else None
    status = response.get("status_code") if isinstance(response, dict) else None
    if error is not None or status != 200 or not isinstance(body, dict):
        # OpenAI puts a refused request's error into the body, vLLM and expired batches beside it.
        told = error or (body.get("error") if isinstance(body, dict) else None) or body
        details = told if isinstance(told, dict) else {}
        said = " ".join(str(details.get("message", told)).split())
        raise NoAnswerError(f"status {status}: {said}" if status else said, status, details)
    try:
        read_reply(key, body, cached=True)
    except ValueError as told:
        raise NoAnswerError(str(told), status, {}) from told
    return body


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _requests(path: Path) -> dict[str, tuple[dict[str, Any], int]]:
    """Body and sample index by key."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for where, row in _rows(path):
        key, body = row.get("custom_id"), row.get("body")
        if not isinstance(body, dict):
            raise UserError(f"{where}: no body: not a line of a batch's input")
        samples = range(MOST_SAMPLES)
        sample = next((sample for sample in samples if request_key(body, sample) == key), None)
        if sample is None:
            raise UserError(
                f"{where}: custom_id {key!r} is not the key of this body: the request was changed "
                "after it was written, or it was not written by this program"
            )
        found[str(key)] = body, sample
    return found


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of ``path``, each with the place to name in an error."""
    try:
        # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the batch file {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: not a JSON object")
        yield f"{path}:{number}", row


class UnknownError(Exception):
    """The endpoint does not have what it was asked for; the text is its own."""


class RefusedError(UserError):
    """A batch was not taken, and nothing of it is there."""


@dataclass(frozen=True)
class State:
    """How a batch stands.

    Attributes:
        id: The endpoint's name for it.
        status: OpenAI's word.
        done: Requests that have an outcome, be it an error.
        total: Requests that it has; 0 before they are counted.
        files: Ids of what it wrote: its output, its errors, both or neither.
        errors: Why it was refused: OpenAI's code and a text, which is the server's own.
    """

    id: str
    status: str
    done: int
    total: int
    files: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED

    @property
    def is_refused(self) -> bool:
        """Whether nothing of it was worked on."""
        return self.status == "failed" and not self.files


def read_state(batch: Mapping[str, Any]) -> State:
    """Read a ``batch`` object.

    Raises:
        ValueError: it is none.
    """
    counts = batch.get("request_counts") or {}
    done, failed, total = (int(counts.get(name) or 0) for name in ("completed", "failed", "total"))
    files = (batch.get("output_file_id"), batch.get("error_file_id"))
    errors = (batch.get("errors") or {}).get("data") or []
    return State(
        id=read_id(batch),
        status=str(batch.get("status")),
        done=done + failed,
        total=total,
        files=tuple(str(file) for file in files if file),
        errors=tuple((str(error.get("code")), _error_text(error)) for error in errors),
    )


def read_id(document: Mapping[str, Any]) -> str:
    """The id of whatever ``document`` describes; ValueError if it names none."""
    found = document.get("id")
    if not isinstance(found, str) or not found:
        raise ValueError("the response names no id")
    return found


def _error_text(error: Mapping[str, Any]) -> str:
    place = "" if error.get("line") is None else f"line {error['line']}: "
    return f"{place}{error.get('message') or error.get('code')}"
