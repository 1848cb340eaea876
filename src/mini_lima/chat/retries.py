"""When to try again: after what an endpoint asks for, and later each time.

The pauses double from ``backoff`` (half a second) to 120 times that (a minute), each shortened by
up to a half at random so that calls which failed together do not return together. An endpoint that
asks for a pause gets at least that; where its advice did not help before, the own pause grows past
it, or a hundred callers told "in a second" would meet again every second.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mini_lima.chat.endpoint import Endpoint

LONGEST = 120
"""In units of ``backoff``."""
RETRIES_OF_THE_UNREACHABLE = 3
"""Where no call of a run has met a server at all, waiting for it is waiting for a wrong address."""


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
    own = endpoint.backoff * min(2.0 ** min(retries, 30), LONGEST) * (1 - chance / 2)
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
