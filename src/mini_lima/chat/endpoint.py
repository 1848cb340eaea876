"""Where requests are answered, and the credential that this may take.

The credential is looked up when it is needed and kept nowhere: an `Endpoint` knows the name of an
environment variable, so it can be printed, logged and compared freely.
"""

import hashlib
import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from mini_lima.errors import UserError
from mini_lima.files import read_bytes
from mini_lima.text import secrets

# Named here because the client would otherwise let an environment variable of its own redirect the
# requests of a run, and their answers would be cached under the name of another endpoint.
OPENAI_URL = "https://api.openai.com/v1"

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MADE_BY_CHANCE = re.compile(r"(?=[^_]*[0-9])(?=[^_]*[A-Za-z])[^_]{16,}|[^_]{24,}")
"""A part of a key, between underscores."""
HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%\w+)?")
PROXIES = ("http", "https", "socks5", "socks5h")
UNSET = "correct the variable or unset it"


class ChatMode(StrEnum):
    """How a model behind an endpoint is asked; the answers are the same."""

    live = "live"
    batch = "batch"
    replay = "replay"
    """Not at all: everything must be in the response cache."""


@dataclass(kw_only=True)
class Connection:
    """How a server is asked; these are options of the configuration, with their defaults."""

    api_key_env: str | None = None
    """Environment variable that holds the key. None: no key is sent."""
    mode: ChatMode = ChatMode.live
    """``batch``: through OpenAI's batch interface, at batch prices, within a day."""
    concurrency: int = 16
    """Calls in flight at most."""
    timeout: float = 120.0
    """Seconds after which one attempt has failed, however much has arrived by then."""
    total_timeout: float = 900.0
    """Seconds after which no further attempt at one request begins. One that has begun is not cut
    short by it, because it may be paid for."""
    max_retries: int = 14
    """Attempts beyond the first: with their pauses they outlast a storm of four minutes."""
    most_failed: float = 0.1
    """Share of a stage's requests that may fail for good; with more it does not finish, and the
    same command asks them again. One alone may, unless it is all."""
    requests_per_minute: float | None = None
    """Attempts sent at most; null leaves it to the endpoint."""
    tokens_per_minute: float | None = None
    """The same for tokens, as they are estimated before an attempt."""

    def faults(self) -> Iterator[str]:
        """Yield what no call could succeed with, a line each, which begins with the field."""
        limits = ("timeout", "total_timeout", "requests_per_minute", "tokens_per_minute")
        for name in ("concurrency", *limits):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                yield f"{name}={value}: must be greater than 0"
        if not 0 <= self.most_failed <= 1:
            yield f"most_failed={self.most_failed}: must be a share, from 0 to 1"
        if self.max_retries < 0:
            yield f"max_retries={self.max_retries}: must be 0 or greater"
        yield from key_variable_faults(self.api_key_env)


def key_variable_faults(name: str | None) -> Iterator[str]:
    """Say so if ``name`` is no name of a variable; never what it is, for it may be a key."""
    if name is None or (VARIABLE.fullmatch(name) and name in os.environ):
        return
    parts = name.split("_")
    if (
        not VARIABLE.fullmatch(name)
        or any(map(MADE_BY_CHANCE.fullmatch, parts))
        or name in secrets()
    ):
        yield (
            "api_key_env: must be the name of a variable, such as OPENAI_API_KEY, and never the"
            " key itself (what was given is not shown; if it was a key, change it)"
        )


def address_faults(url: str | None) -> Iterator[str]:
    """Say why nothing can be sent to ``url``; never what it is, for it may hold a password."""
    if url is None:
        return
    parts, why = _taken_apart(url, ("http", "https"))
    if parts is None:
        yield f"base_url: {why}; it must look like http://127.0.0.1:8000/v1"
    elif parts.username is not None:
        yield (
            "base_url: holds a user or a password, which would be written into records: name the"
            " variable that has the key in api_key_env"
        )
    elif parts.query or parts.fragment or url.endswith(("?", "#")):
        yield (
            "base_url: goes on with ? or #, after which no path can follow; a key belongs into the"
            " variable that api_key_env names"
        )


def _taken_apart(url: str, schemes: Collection[str]) -> tuple[SplitResult | None, str]:
    """The parts of ``url``, or why something can never be sent there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, "is no address"
    if parts.scheme not in schemes:
        return None, f"does not begin with {' or '.join(f'{each}://' for each in schemes)}"
    try:
        possible = parts.port != 0
    except ValueError:
        possible = False
    if not possible:
        return None, "has a port that is no number from 1 to 65535"
    try:
        host = (parts.hostname or "").encode("idna").decode()
    except UnicodeError:
        host = ""
    if not HOST.fullmatch(host) or not url.isprintable() or " " in url:
        return None, "has no host, one that cannot be, or spaces in it"
    return parts, ""


def environment_faults() -> Iterator[str]:
    """Say which variables of the environment keep every request from being sent."""
    from urllib.request import getproxies

    import httpx2

    for name, is_there in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        if (path := os.environ.get(name)) and not is_there(path):
            yield f"{name}={path}: no such {'file' if name.endswith('E') else 'folder'}; {UNSET}"
            return
    for kind in ("http", "https", "all"):
        proxy = getproxies().get(kind, "")
        proxy = proxy if "://" in proxy or not proxy else f"http://{proxy}"
        if proxy and (why := _taken_apart(proxy, PROXIES)[1]):
            yield f"the proxy in {kind.upper()}_PROXY {why}; {UNSET}"
            return
    try:
        httpx2.Client().close()
    except ImportError:
        yield f"a proxy is socks://, which needs a package: pip install 'httpx2[socks]', or {UNSET}"
    except (OSError, ValueError, httpx2.InvalidURL) as error:
        yield f"SSL_CERT_FILE, SSL_CERT_DIR or a proxy cannot be used ({error}); {UNSET}"


@dataclass
class Endpoint(Connection):
    """An OpenAI-compatible server, or a recording that stands for one.

    Attributes:
        name: Identity in the cache: two endpoints that may answer differently need two names.
        base_url: Address up to ``/v1``; None is OpenAI's own.
        cassette: Recorded answers. With it nothing is sent and no key is read.
        backoff: Seconds; sets the scale of the pauses between attempts.
        batch_poll: Seconds between two looks at a batch, at the most; the first come sooner.
    """

    name: str
    base_url: str | None = None
    cassette: Path | None = None
    backoff: float = 0.5
    batch_poll: float = 60.0

    def __post_init__(self) -> None:
        """Raise UserError for what no call could succeed with."""
        for fault in (*address_faults(self.base_url), *self.faults()):
            raise UserError(f"endpoint {self.name!r}: {fault}")

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
            contents = read_bytes(self.cassette)
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
