"""What is asked and what comes back.

A request is identified by everything that can change its answer and nothing else: the JSON body as
it goes over the wire, and a sample index that tells repeats of one body apart. Its key is therefore
the same on every machine, and it is what caches, recordings and the lineage of an example refer to.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Final

from annotated_types import Ge, Gt, Interval

METHOD = "POST"
URL: Final = "/v1/chat/completions"
MOST_NESTED = 100
"""Levels of a response's JSON: what could be read once must be readable from the cache, too."""


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

    def taken(self) -> Iterator[str]:
        """Yield what ``extra_body`` must not hold, a line each, which begins with the field."""
        for name in sorted({"messages", "stream", "n", *vars(self)} & self.extra_body.keys()):
            yield f"extra_body.{name}: is no further parameter: take it out"

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
        }
        said = [{"role": role, "content": content} for role, content in messages]
        sent = {name: value for name, value in sampling.items() if value is not None}
        body = {"model": self.model, "messages": said, **sent, **self.extra_body}
        return ChatRequest(body, sample)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request.

    Attributes:
        request_key: Key of the request.
        text: What the model wrote; empty where the endpoint gave no content. Of a model that
            called a function, the arguments.
        finish_reason: ``stop``, ``length`` …, as the endpoint says it.
        served_model: The model that the endpoint says it used, which need not be the one asked for.
        usage: Token counts as reported, None where none were.
        cached: Whether it was answered without a call of ours: earlier, or by another process.
        logprobs: Per token of the answer what the endpoint says of its alternatives, if it was
            asked to, in OpenAI's form.
        error: Why there is no answer, as a reason code (see `faults`); None if there is one.
    """

    request_key: str
    text: str
    finish_reason: str | None = None
    served_model: str | None = None
    usage: dict[str, Any] | None = None
    cached: bool = False
    logprobs: list[dict[str, Any]] | None = None
    error: str | None = None


class UnreadableError(ValueError):
    """A response in a shape that is no chat completion, and would not be one if asked again."""


def parse(content: bytes) -> Any:
    """Read JSON as it came over the wire into what any file can hold.

    A reply that is cut in the middle of an emoji can end in half a surrogate pair, which JSON lets
    through as an escape and no UTF-8 file can hold: such a half becomes U+FFFD here, before anyone
    sees it.

    Raises:
        UnreadableError: it is a stream of events, or nested deeper than any completion.
        ValueError: it is no JSON.
    """
    try:
        document = json.loads(content)
        if b"\\ud" in content.lower():
            text = json.dumps(document, ensure_ascii=False).encode("utf-16", "surrogatepass")
            document = json.loads(text.decode("utf-16", "replace"))
        if _is_too_deep(document):
            raise RecursionError
    except RecursionError:
        raise UnreadableError("nested too deeply to be read") from None
    except ValueError:
        head = bytes(content[:200]).decode(errors="replace")
        if head.lstrip().startswith(("data:", "event:")):
            raise UnreadableError("a stream of events, which was not asked for") from None
        raise ValueError(f"not JSON: {head!r}") from None
    return document


def _is_too_deep(document: Any) -> bool:
    level = [document]
    for _ in range(MOST_NESTED):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def read_reply(request_key: str, response: Any, *, cached: bool) -> Reply:
    """Read a ``chat.completion`` body as servers really write it: most fields may be absent.

    Raises:
        UnreadableError: ``response`` has another shape.
        ValueError: it tells an error instead, which may pass.
    """
    if not isinstance(response, dict):
        raise UnreadableError(f"a JSON object was expected, not {type(response).__name__}")
    choices = response.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        # Some routers wrap the error of a model behind them in a response with status 200.
        error = response.get("error")
        if reason := error.get("message") if isinstance(error, dict) else error:
            raise ValueError(f"no choices: {reason}")
        raise UnreadableError(f"no choices: {json.dumps(response)[:200]}")
    choice = choices[0]
    if choice.get("finish_reason") == "error" or choice.get("error"):
        raise ValueError(f"an error in the first choice: {choice.get('error')}")
    text = _text(choice.get("message"))
    if text is None:
        raise UnreadableError(f"no text in the first choice: {json.dumps(choice)[:200]}")
    finish_reason, logprobs = choice.get("finish_reason"), choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    served, usage = response.get("model"), response.get("usage")
    return Reply(
        request_key=request_key,
        text=text,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        served_model=served if isinstance(served, str) else None,
        usage=usage if isinstance(usage, dict) else None,
        cached=cached,
        logprobs=tokens if isinstance(tokens, list) else None,
    )


def _text(message: Any) -> str | None:
    """What ``message`` says, or the arguments of the function that it calls; None: no message."""
    match message:
        case {"content": str(text)} if text:
            return text
        case {"content": [*parts]} if all(
            isinstance(part, dict) and isinstance(part.get("text", ""), str) for part in parts
        ):
            return "".join(part.get("text", "") for part in parts)
        case {"tool_calls": [{"function": {"arguments": str(arguments)}}, *_]}:
            return arguments
        case {"content": ""} | {"content": None}:
            return ""
        case dict() if "content" not in message:
            return ""
    return None


@dataclass(frozen=True)
class CassetteEntry:
    """A request and the body of its response; ``endpoint`` is who answered, where that is known."""

    request: ChatRequest
    response: dict[str, Any]
    endpoint: str | None = None


def completion_body(text: str, *, model: str, finish_reason: str = "stop") -> dict[str, Any]:
    """The least that is a ``chat.completion``: what ``model`` wrote, and no made-up usage or id."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"object": "chat.completion", "model": model, "choices": [choice]}
