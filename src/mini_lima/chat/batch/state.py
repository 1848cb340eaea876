"""What an endpoint says of a batch: how it stands, or that it has or takes no such thing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mini_lima.errors import UserError

ENDED = ("completed", "failed", "expired", "cancelled")
DAY = 86_400.0
"""Seconds in which a batch ends."""


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
        errors=tuple((str(error.get("code")), _text(error)) for error in errors),
    )


def read_id(document: Mapping[str, Any]) -> str:
    """The id of whatever ``document`` describes; ValueError if it names none."""
    found = document.get("id")
    if not isinstance(found, str) or not found:
        raise ValueError("the response names no id")
    return found


def _text(error: Mapping[str, Any]) -> str:
    place = "" if error.get("line") is None else f"line {error['line']}: "
    return f"{place}{error.get('message') or error.get('code')}"
