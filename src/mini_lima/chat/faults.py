"""What went wrong with one attempt, what that means, and when to try again.

A fault **passes** (a busy or restarting server, a lost connection), or is the request's **own** and
will meet it again (refused contents, a prompt that is too long, a reply in a shape that cannot be
read), or is **hopeless**: no request can be answered before a person does something. Its code is a
stable word for counting, its text is for people. The credential is in neither, though some servers
repeat it.

What passes is tried again after what the endpoint asks for, and later each time. The pauses double
from ``backoff`` (half a second) to 120 times that (a minute), each shortened by up to a half at
random so that calls which failed together do not return together. An endpoint that asks for a pause
gets at least that; where its advice did not help before, the own pause grows past it, or a hundred
callers told "in a second" would meet again every second.

A parameter that a model does not take is read out of its refusal. OpenAI's newer models want
``max_completion_tokens`` in place of ``max_tokens`` and take no ``temperature``; older servers want
it the other way round.
"""

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

import httpx2
import openai

from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.replies import NO_COMPLETION, Reply, UnreadableError
from mini_lima.text import as_line, redacted

RATE_LIMIT = "rate_limit"
SERVER_ERROR = "server_error"
TIMEOUT = "timeout"
DROPPED = "connection_lost"
UNREACHABLE = "no_connection"
CONTENT_FILTER = "content_filter"
CONTEXT_LENGTH = "context_length"
BAD_REQUEST = "bad_request"

MONTH = 31 * 86_400.0
LONGEST_PAUSE = 120
"""In units of ``backoff``."""

NO_CREDIT = "the account behind {key} has no credit left"
REMEDIES = {
    401: "check the key in {key}",
    402: NO_CREDIT,
    403: "the key in {key} may not use {what}",
    429: NO_CREDIT,
}
HOPELESS = (401, 402, 403, 404, 405, 501)
UNKNOWN = "check base_url, and that this endpoint knows {what}"
REDIRECTED = "give the address that this one leads to as base_url: no redirect is followed"

# OpenAI, DeepSeek, Anthropic.
_NO_QUOTA = re.compile(
    r"insufficient_quota|insufficient balance|credit balance is too low", re.IGNORECASE
)
# OpenRouter, DeepSeek, Mistral and vLLM, in this order; OpenAI and Ollama answer 404.
_UNKNOWN_MODEL = re.compile(
    r"is not a valid model id|model not exist|invalid model\b|model \S+ does not exist|"
    r"model_not_found",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_filter|content[_ ]policy|content management policy|responsibleaipolicy|flagged|"
    r"invalid_prompt|data_inspection_failed|requires moderation",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context (?:window|size|length)|"
    r"prompt is too long|string_above_max_length",
    re.IGNORECASE,
)

PARAMETERS = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed")
_PARAMETER = f"({'|'.join(PARAMETERS)})"
_REFUSED = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # OpenAI, and what passes its errors on without their code
        rf"unsupported (?:parameter|value): \W*{_PARAMETER}\b",
        rf"unrecognized request argument supplied: {_PARAMETER}\b",
        r"setting \W*(max_tokens)\W+and\W+max_completion_tokens\W+at the same time",
        # servers that check bodies with pydantic (vLLM, Mistral)
        rf"extra_forbidden\W+loc\W+body\W+{_PARAMETER}\b",
        # Anthropic, xAI and routers
        rf"[`'\"]{_PARAMETER}[`'\"]? is (?:deprecated|not supported|unsupported)",
        rf"does not support (?:the )?(?:parameter )?[`'\"]?{_PARAMETER}\b",
        rf"argument not supported on this model: {_PARAMETER}\b",
    )
]


class Meaning(Enum):
    """How far a fault reaches."""

    passes = auto()
    own = auto()
    hopeless = auto()


@dataclass(frozen=True)
class Fault:
    """One attempt that brought no answer.

    Attributes:
        code: One of this module's words.
        meaning: How far it reaches.
        text: One line for people.
        status: Of the response, if there was one.
        asked_for: Seconds that the endpoint asks to wait.
        refused: The parameter that the model does not take, if it is that.
        may_be_billed: Whether an answer may have been made that never arrived.
        remedy: What a person can do, if it is hopeless.
        reply: What came, if it could be read and is no answer.
        received: What came with status 200, as it came.
    """

    code: str
    meaning: Meaning
    text: str
    status: int | None = None
    asked_for: float | None = None
    refused: str | None = None
    may_be_billed: bool = False
    remedy: str = ""
    reply: Reply | None = None
    received: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether it says something of one request only."""
        return self.meaning is Meaning.own


def fault_of(error: Exception, endpoint: Endpoint, credential: str, what: str) -> Fault:
    """Read the exception that an attempt ended with.

    Args:
        error: From the client (`openai.APIError`), a `TimeoutError`, what says that the response
            is no completion, or whatever else it made a reader raise.
        endpoint: Where the attempt went.
        credential: Is not repeated.
        what: Was asked, such as ``model 'gpt-x'``.
    """
    if isinstance(error, openai.APIStatusError):
        told = str(error).removeprefix("Error code: ")
        if told == str(error.status_code):  # the client repeats messages only
            told = f"{told} {error.response.text}"
        return _refusal(error, cleaned(told, credential), endpoint, what)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        if isinstance(error.__cause__, httpx2.ConnectTimeout):
            return Fault(UNREACHABLE, Meaning.passes, "no connection: no reply from the address")
        text = f"no answer within {endpoint.timeout:g} s"
        return Fault(TIMEOUT, Meaning.passes, text, may_be_billed=True)
    if isinstance(error, openai.APIConnectionError):
        text = cleaned(f"no connection: {error.__cause__}", credential)
        if isinstance(error.__cause__, httpx2.ConnectError):
            return Fault(UNREACHABLE, Meaning.passes, text)
        if isinstance(error.__cause__, httpx2.DecodingError):
            return Fault(NO_COMPLETION, Meaning.own, text, may_be_billed=True)
        return Fault(DROPPED, Meaning.passes, text, may_be_billed=True)
    if isinstance(error, httpx2.RequestError):  # while a file came, where the client does not look
        return Fault(DROPPED, Meaning.passes, cleaned(f"no connection: {error}", credential))
    may_pass = isinstance(error, ValueError) and not isinstance(error, UnreadableError)
    meaning = Meaning.passes if may_pass else Meaning.own
    text = cleaned(str(error) or type(error).__name__, credential)
    return Fault(NO_COMPLETION, meaning, text, may_be_billed=True)


def _refusal(error: openai.APIStatusError, text: str, endpoint: Endpoint, what: str) -> Fault:
    code, parameter, kind = map(_word, (error.code, error.param, error.type))
    status, told = error.status_code, f"{error} {code} {kind}"
    if status == 403 and _FILTERED.search(told):  # OpenRouter's way of moderating
        return Fault(CONTENT_FILTER, Meaning.own, text, status)
    no_quota = _NO_QUOTA.search(told)
    unknown_model = status in (400, 404, 422) and _UNKNOWN_MODEL.search(told)
    if status < 400 or status in HOPELESS or no_quota or unknown_model:
        remedy = NO_CREDIT if no_quota else REMEDIES.get(status, UNKNOWN)
        remedy = REDIRECTED if status < 400 else remedy
        remedy = remedy.format(key=endpoint.api_key_env or "api_key_env (not set)", what=what)
        return Fault(BAD_REQUEST, Meaning.hopeless, text, status, remedy=remedy)
    asked_for = retry_after(error.response.headers)
    if status == 429:
        return Fault(RATE_LIMIT, Meaning.passes, text, status, asked_for)
    if status >= 500 or status in (408, 409, 425):
        return Fault(SERVER_ERROR, Meaning.passes, text, status, asked_for)
    whole = f"{told} {error.response.text}"
    if refused := refused_parameter(status, code, parameter, whole):
        return Fault(BAD_REQUEST, Meaning.own, text, status, refused=refused)
    if _FILTERED.search(told):
        return Fault(CONTENT_FILTER, Meaning.own, text, status)
    code = CONTEXT_LENGTH if _TOO_LONG.search(told) else BAD_REQUEST
    return Fault(code, Meaning.own, text, status)


def _word(told: Any) -> str | None:
    """What should be a word in an error, if it is one."""
    return told if isinstance(told, str) else None


def cleaned(text: str, credential: str) -> str:
    """What a server told, as one short line without the credential."""
    return as_line(redacted(text, credential))[:200]


def refused_parameter(
    status: int | None, code: str | None, parameter: str | None, text: str
) -> str | None:
    """The parameter that an error says a model does not take, None if it says something else.

    Not a value that is out of range: a ``max_tokens`` that is too large is the caller's to mend.

    Args:
        status: Of the response.
        code: OpenAI's code of the error.
        parameter: The parameter that OpenAI's error names.
        text: The error in full.
    """
    if status not in (400, 422):
        return None
    if code in ("unsupported_parameter", "unsupported_value") and parameter in PARAMETERS:
        return parameter
    found = (pattern.search(text) for pattern in _REFUSED)
    return next((match[1].lower() for match in found if match), None)


def pause(
    *, endpoint: Endpoint, retries: int, elapsed: float, asked_for: float | None, chance: float
) -> float | None:
    """Seconds to wait before the next attempt; None if there is none.

    Args:
        endpoint: Says how long to go on.
        retries: How many there were already.
        elapsed: Seconds since the first attempt.
        asked_for: Seconds that the endpoint asked for.
        chance: A random number, 0 to 1.
    """
    if retries >= endpoint.max_retries:
        return None
    own = endpoint.backoff * min(2.0 ** min(retries, 30), LONGEST_PAUSE) * (1 - chance / 2)
    seconds = max(own, asked_for or 0.0)
    return None if elapsed + seconds >= endpoint.total_timeout else seconds


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait; a time in the past is 0.

    None if it does not, or if it asks for what nobody can mean: more than a month.

    Args:
        headers: ``Retry-After`` holds seconds or a date, ``retry-after-ms`` (OpenAI's)
            milliseconds. A date is read by the clock of the server, if it sent its ``Date``.
    """
    asked = math.inf
    for name, unit in (("retry-after", 1), ("retry-after-ms", 1000)):
        with contextlib.suppress(ValueError):
            asked = float(headers.get(name, "")) / unit
    if (then := _date(headers.get("retry-after"))) is not None:
        asked = (then - (_date(headers.get("date")) or datetime.now(UTC))).total_seconds()
    return max(asked, 0.0) if -math.inf < asked < MONTH else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def hopeless_text(endpoint: Endpoint, fault: Fault) -> str:
    """Say that nothing will be answered before a person does something."""
    return f"endpoint {endpoint.name!r} refuses every request ({fault.text}): {fault.remedy}"
