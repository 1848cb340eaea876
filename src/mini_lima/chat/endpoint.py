"""Where requests are answered, and the credential that this may take.

The credential is looked up when it is needed and kept nowhere: an `Endpoint` knows the name of an
environment variable, so it can be printed, logged and compared freely.
"""

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mini_lima.errors import UserError

# Named here because the client would otherwise let an environment variable of its own redirect the
# requests of a run, and their answers would be cached under the name of another endpoint.
OPENAI_URL = "https://api.openai.com/v1"
POSITIVE = (
    "timeout",
    "total_timeout",
    "backoff",
    "requests_per_minute",
    "tokens_per_minute",
    "batch_poll",
)
MODES = ("live", "batch", "replay")


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server, or a cassette that stands for one.

    Attributes:
        name: Identity in the cache: two endpoints that may answer differently need two names.
        base_url: Address up to ``/v1``; None is OpenAI's own.
        api_key_env: Environment variable that holds the key; None sends a placeholder.
        cassette: Recorded answers. With it nothing is sent and no key is read.
        concurrency: Calls in flight at most.
        timeout: Seconds after which one attempt counts as failed, however much has arrived by then.
        total_timeout: Seconds after which no further attempt at one request begins. One that has
            begun is not cut short by it, because it may be paid for.
        max_retries: Attempts beyond the first for what may pass (429, 5xx, lost connections). With
            the default and the pauses of `faults` they outlast a storm of four to eight minutes.
        backoff: Seconds; sets the scale of the pauses between attempts.
        requests_per_minute: Attempts that are sent at most; None leaves it to the endpoint.
        tokens_per_minute: The same for tokens, as they are estimated before an attempt.
        mode: How it is asked: ``live``, each request for itself, or ``batch``, all together through
            OpenAI's batch interface, which costs less and takes up to a day, or ``replay``, not at
            all: everything must be in the response cache. The answers are the same, so the mode is
            no part of the identity.
        batch_poll: Seconds between two looks at a batch, at the most; the first come sooner.
    """

    name: str
    base_url: str | None = None
    api_key_env: str | None = None
    cassette: Path | None = None
    concurrency: int = 8
    timeout: float = 120.0
    total_timeout: float = 900.0
    max_retries: int = 14
    backoff: float = 0.5
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    mode: Literal["live", "batch", "replay"] = "live"
    batch_poll: float = 60.0

    def __post_init__(self) -> None:
        """Raise UserError for what no call could succeed with."""
        if self.concurrency < 1 or self.max_retries < 0:
            raise UserError(
                f"endpoint {self.name!r}: concurrency must be at least 1 and max_retries at least "
                f"0, not {self.concurrency} and {self.max_retries}"
            )
        if self.mode not in MODES:
            raise UserError(
                f"endpoint {self.name!r}: mode must be {', '.join(MODES[:-1])} or {MODES[-1]}"
            )
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"endpoint {self.name!r}: {name} must be above 0, not {value}")
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UserError(
                f"endpoint {self.name!r}: base_url must look like http://127.0.0.1:8000/v1, not "
                f"{self.base_url!r}"
            )

    @property
    def url(self) -> str:
        """The address that requests go to."""
        return self.base_url or OPENAI_URL

    @property
    def identity(self) -> str:
        """What its answers are cached under: never the key, never a path.

        A cassette counts by its contents: answers of an earlier recording must not outlive it.

        Raises:
            UserError: the cassette cannot be read.
        """
        if self.cassette is None:
            return self.name
        try:
            contents = self.cassette.read_bytes()
        except OSError as error:
            raise UserError(f"the cassette {self.cassette} cannot be read: {error}") from error
        return f"{self.name} {hashlib.sha256(contents).hexdigest()}"

    def credential(self) -> str:
        """Read the key from the environment.

        Raises:
            UserError: the variable is unset or holds what cannot be a key; its value is not shown.
        """
        if self.api_key_env is None:
            return "none"
        # Keys that come out of files end in newlines, which an HTTP header must not.
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise UserError(
                f"endpoint {self.name!r} needs a key: put it into the environment variable "
                f"{self.api_key_env}"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UserError(
                f"the environment variable {self.api_key_env} (key of endpoint {self.name!r}) "
                "holds spaces or characters that no key has: set it again"
            )
        return key
