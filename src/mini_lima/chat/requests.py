"""What is asked.

A request is identified by everything that can change its answer and nothing else: the JSON body as
it goes over the wire, and a sample index that tells repeats of one body apart. Its key is therefore
the same on every machine, and it is what caches, recordings and the lineage of an example refer to.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Final

from annotated_types import Ge, Gt, Interval

SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:(?:api|access|private|subscription)[_-]?key|secret|password|passwd|authorization"
    r"|credentials?|cookie)(?:[_-].*)?|(?:.*[_-])?(?:api|access|auth|bearer|refresh|session)[_-]?token|(?:(?:hf|id)[_-])?token",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(r"(?:Bearer|Basic) \S{8,}|(?:sk|hf|gsk|xai|pk)[-_][\w-]{16,}")
METHOD = "POST"
URL: Final = "/v1/chat/completions"


def canonical_json(document: Any) -> str:
    """The one JSON text of ``document``: sorted keys, no spaces, no ASCII escapes.

    Raises:
        ValueError: for NaN and infinities, which JSON cannot spell.
    """
    return json.dumps(
        document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


@dataclass(frozen=True)
class ChatRequest:
    """One call of ``/v1/chat/completions``: its JSON body as it is sent, and its sample index.

    ``sample`` is not sent: it numbers the repeats of one and the same body, which would otherwise
    be answered from the cache.
    """

    body: dict[str, Any] = field(hash=False)
    sample: int = 0

    @cached_property
    def key(self) -> str:
        """Its identity: SHA-256 (hex) over canonical JSON of ``body`` and ``sample``."""
        text = canonical_json({"body": self.body, "sample": self.sample})
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    @property
    def model(self) -> str:
        """The model that is asked, as its endpoint calls it."""
        return str(self.body["model"])

    @property
    def messages(self) -> list[tuple[str, str]]:
        """(role, content) pairs."""
        return [(each["role"], each["content"]) for each in self.body["messages"]]


@dataclass
class ChatModel:
    """A model, as its endpoint calls it, and how it is sampled (None: the endpoint's default)."""

    model: str
    temperature: Annotated[float, Ge(0)] | None = None
    top_p: Annotated[float, Interval(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Gt(0)] | None = None
    """Length limit of a reply, for most servers and OpenAI's older models."""
    max_completion_tokens: Annotated[int, Gt(0)] | None = None
    """The same for OpenAI's newer models, reasoning included."""
    seed: int | None = None
    """Of the first answer to a prompt; a repeat has the next one."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further parameters of the request's body, as JSON types: ``logprobs``, ``tools`` …"""
    reasoning_effort: str | None = None
    """How much a model that thinks is to think: ``low``, ``none`` … as its endpoint has it."""

    def taken(self) -> Iterator[str]:
        """Yield what ``extra_body`` must not hold, a line each, which begins with the field."""
        for name in sorted({"messages", "stream", "n", *vars(self)} & self.extra_body.keys()):
            yield f"extra_body.{name}: is no further parameter: take it out"
        for place in _secrets(self.extra_body, "extra_body"):
            yield (
                f"{place}: looks like a secret, which would be written into every request that is"
                " kept: take it out, and name the variable that holds the key in api_key_env"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What is sent besides the messages; what is not sent is no part of who answers."""
        body = self.request([]).body
        return {name: value for name, value in body.items() if name != "messages"}

    def request(self, messages: Iterable[tuple[str, str]], *, sample: int = 0) -> ChatRequest:
        """The request that sends ``messages``, (role, content) pairs, to this model.

        With a seed each ``sample`` has the next one: the same seed would bring the same answer.
        """
        # float(): a temperature of 1 and one of 1.0 are the same request, and must have one key.
        sampling = {
            "temperature": None if self.temperature is None else float(self.temperature),
            "top_p": None if self.top_p is None else float(self.top_p),
            "max_tokens": self.max_tokens,
            "max_completion_tokens": self.max_completion_tokens,
            "seed": None if self.seed is None else self.seed + sample,
            "reasoning_effort": self.reasoning_effort,
        }
        said = [{"role": role, "content": content} for role, content in messages]
        sent = {name: value for name, value in sampling.items() if value is not None}
        body = {"model": self.model, "messages": said, **sent, **self.extra_body}
        return ChatRequest(body, sample)


def _secrets(value: Any, place: str) -> Iterator[str]:
    """Yield where in ``value``, at ``place``, a secret seems to be."""
    if isinstance(value, str) and SECRET_VALUE.match(value):
        yield place
    elif isinstance(value, list):
        for each in value:
            yield from _secrets(each, place)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if SECRET_NAME.fullmatch(str(name)):
                yield f"{place}.{name}"
            else:
                yield from _secrets(inner, f"{place}.{name}")
