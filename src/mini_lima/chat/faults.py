"""What went wrong with one attempt, what that means, and when to try again.

A fault **passes** (a busy or restarting server, a lost connection), or is the request's **own** and
will meet it again (refused contents, a prompt that is too long), or is **hopeless**: no request can
be answered before a person does something. Its code is a stable word for counting, its text is for
people. The credential is in neither, though some servers repeat it.

What passes is tried again after what the endpoint asks for, and later each time. The pauses double
from ``backoff`` (half a second) to 120 times that (a minute), each shortened by up to a half at
random so that calls which failed together do not return together. An endpoint that asks for a pause
gets at least that; where its advice did not help before, the own pause grows past it, or a hundred
callers told "in a second" would meet again every second.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import httpx2
import openai

from mini_lima.chat.adaptation import refused_parameter
from mini_lima.chat.endpoint import Endpoint

RATE_LIMIT = "rate_limit"
SERVER_ERROR = "server_error"
TIMEOUT = "timeout"
DROPPED = "connection_lost"
UNREACHABLE = "no_connection"
NO_COMPLETION = "no_completion"
"""What came with status 200 is not a chat completion: a gateway's page, JSON without choices."""
CONTENT_FILTER = "content_filter"
CONTEXT_LENGTH = "context_length"
BAD_REQUEST = "bad_request"

LONGEST_PAUSE = 120
"""In units of ``backoff``."""
RETRIES_OF_THE_UNREACHABLE = 3
"""Where no call of a run has met a server at all, waiting for it is waiting for a wrong address."""

NO_CREDIT = "the account behind {key} has no credit left"
REMEDIES = {
    401: "check the key in {key}",
    402: NO_CREDIT,
    403: "the key in {key} may not use {what}",
    429: NO_CREDIT,
}
UNKNOWN = "check base_url, and that this endpoint knows {what}"

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
        asked_for: Seconds that the endpoint asks to wait.
        refused: The parameter that the model does not take, if it is that.
        may_be_billed: Whether an answer may have been made that never arrived.
        remedy: What a person can do, if it is hopeless.
    """

    code: str
    meaning: Meaning
    text: str
    asked_for: float | None = None
    refused: str | None = None
    may_be_billed: bool = False
    remedy: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it says something of one request only."""
        return self.meaning is Meaning.own


def fault_of(error: Exception, endpoint: Endpoint, credential: str, what: str) -> Fault:
    """Read the exception that an attempt ended with.

    Args:
        error: From the client (`openai.APIError`), a `TimeoutError`, or a `ValueError` that says
            what the response is instead of a completion.
        endpoint: Where the attempt went.
        credential: Is not repeated.
        what: Was asked, such as ``model 'gpt-x'``.
    """
    if isinstance(error, openai.APIStatusError):
        told = str(error).removeprefix("Error code: ")
        if told == str(error.status_code):  # the client repeats messages only
            told = f"{told} {error.response.text}"
        return _refusal(error, cleaned(told, endpoint, credential), endpoint, what)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        if isinstance(error.__cause__, httpx2.ConnectTimeout):
            return Fault(UNREACHABLE, Meaning.passes, "no connection: no reply from the address")
        text = f"no answer within {endpoint.timeout:g} s"
        return Fault(TIMEOUT, Meaning.passes, text, may_be_billed=True)
    if isinstance(error, openai.APIConnectionError):
        text = cleaned(f"no connection: {error.__cause__}", endpoint, credential)
        if isinstance(error.__cause__, httpx2.ConnectError):
            return Fault(UNREACHABLE, Meaning.passes, text)
        return Fault(DROPPED, Meaning.passes, text, may_be_billed=True)
    text = cleaned(str(error), endpoint, credential)
    return Fault(NO_COMPLETION, Meaning.passes, text, may_be_billed=True)


def _refusal(error: openai.APIStatusError, text: str, endpoint: Endpoint, what: str) -> Fault:
    status, told = error.status_code, f"{error} {error.code} {error.type}"
    if status == 403 and _FILTERED.search(told):  # OpenRouter's way of moderating
        return Fault(CONTENT_FILTER, Meaning.own, text)
    no_quota = _NO_QUOTA.search(told)
    unknown_model = status in (400, 404, 422) and _UNKNOWN_MODEL.search(told)
    if status in (401, 402, 403, 404) or no_quota or unknown_model:
        remedy = NO_CREDIT if no_quota else REMEDIES.get(status, UNKNOWN)
        remedy = remedy.format(key=endpoint.api_key_env or "api_key_env (not set)", what=what)
        return Fault(BAD_REQUEST, Meaning.hopeless, text, remedy=remedy)
    asked_for = retry_after(error.response.headers)
    if status == 429:
        return Fault(RATE_LIMIT, Meaning.passes, text, asked_for)
    if status >= 500 or status in (408, 409, 425):
        return Fault(SERVER_ERROR, Meaning.passes, text, asked_for)
    whole = f"{told} {error.response.text}"
    if refused := refused_parameter(status, error.code, error.param, whole):
        return Fault(BAD_REQUEST, Meaning.own, text, refused=refused)
    if _FILTERED.search(told):
        return Fault(CONTENT_FILTER, Meaning.own, text)
    if _TOO_LONG.search(told):
        return Fault(CONTEXT_LENGTH, Meaning.own, text)
    return Fault(BAD_REQUEST, Meaning.own, text)


def cleaned(text: str, endpoint: Endpoint, credential: str) -> str:
    """What a server told, as one short line without the credential."""
    if endpoint.api_key_env is not None:
        text = text.replace(credential, "[key]")
    return " ".join(text.split())[:200]


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
    """Seconds that a response asks to wait, None if it does not; a time in the past is 0.

    Args:
        headers: ``Retry-After`` holds seconds or a date, ``retry-after-ms`` (OpenAI's)
            milliseconds. A date is read by the clock of the server, if it sent its ``Date``.
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return max(seconds, 0.0) if seconds == seconds else None
    then = _date(headers.get("retry-after"))
    if then is None:
        return None
    now = _date(headers.get("date")) or datetime.now(UTC)
    return max((then - now).total_seconds(), 0.0)


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def hopeless_text(endpoint: Endpoint, fault: Fault) -> str:
    """Say that nothing will be answered before a person does something."""
    return f"endpoint {endpoint.name!r} refuses every request ({fault.text}): {fault.remedy}"
