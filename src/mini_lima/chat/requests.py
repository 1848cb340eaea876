"""What is asked and what comes back.

A request is identified by everything that can change its answer and nothing else: the JSON body as
it goes over the wire, and a sample index that tells repeats of one body apart. Its key is therefore
the same on every machine, and it is what caches, cassettes and the lineage of an example refer to.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final

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


def request_key(body: dict[str, Any], sample: int) -> str:
    """The identity of a request: SHA-256 (hex) over canonical JSON of ``body`` and ``sample``."""
    text = canonical_json({"body": body, "sample": sample})
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class ChatRequest:
    """One call of ``/v1/chat/completions``; a parameter that is None is not sent.

    ``messages`` are (role, content) pairs. ``sample`` is not sent either: it numbers the repeats of
    one and the same body, which would otherwise be answered from the cache. ``extra`` are further
    parameters of the body, as JSON types: ``logprobs``, ``tools`` …
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    sample: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body as it is sent; a new dictionary each time."""
        # float(): a temperature of 1 and one of 1.0 are the same request, and must have one key.
        sampling = {
            "temperature": None if self.temperature is None else float(self.temperature),
            "top_p": None if self.top_p is None else float(self.top_p),
            "max_tokens": self.max_tokens,
            "max_completion_tokens": self.max_completion_tokens,
            "seed": self.seed,
        }
        messages = [{"role": role, "content": content} for role, content in self.messages]
        sent = {name: value for name, value in sampling.items() if value is not None}
        return {"model": self.model, "messages": messages, **sent, **self.extra}

    @cached_property
    def key(self) -> str:
        """See `request_key`."""
        return request_key(self.body, self.sample)


def request_of(body: Mapping[str, Any], sample: int) -> ChatRequest:
    """The request that has this `ChatRequest.body` and index."""
    named = {each.name for each in fields(ChatRequest)} - {"messages", "sample", "extra"}
    return ChatRequest(
        messages=tuple((message["role"], message["content"]) for message in body["messages"]),
        sample=sample,
        extra={name: value for name, value in body.items() if name not in named | {"messages"}},
        **{name: value for name, value in body.items() if name in named},
    )


@dataclass(frozen=True)
class ChatModel:
    """A model, as its endpoint calls it, and how it is sampled (None: the endpoint's default)."""

    model: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> dict[str, Any]:
        """What is sent besides the messages; what is not sent is no part of who answers."""
        body = self.request([]).body
        del body["messages"]
        return body

    def request(self, messages: Iterable[tuple[str, str]], *, sample: int = 0) -> ChatRequest:
        """The request that sends ``messages``, (role, content) pairs, to this model.

        With a seed each ``sample`` has the next one: the same seed would bring the same answer.
        """
        return ChatRequest(
            model=self.model,
            messages=tuple((role, content) for role, content in messages),
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            max_completion_tokens=self.max_completion_tokens,
            seed=None if self.seed is None else self.seed + sample,
            sample=sample,
            extra=self.extra,
        )


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
    finish_reason: str | None
    served_model: str | None
    usage: dict[str, Any] | None
    cached: bool
    logprobs: list[dict[str, Any]] | None = None
    error: str | None = None


def read_reply(request_key: str, response: Any, *, cached: bool) -> Reply:
    """Read a ``chat.completion`` body as servers really write it: most fields may be absent.

    Raises:
        ValueError: ``response`` is no completion; the text says what it is instead.
    """
    if not isinstance(response, dict):
        raise ValueError(f"a JSON object was expected, not {type(response).__name__}")
    choices = response.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        # Some routers wrap the error of a model behind them in a response with status 200.
        error = response.get("error")
        reason = error.get("message") if isinstance(error, dict) else error
        raise ValueError(f"no choices: {reason}" if reason else "no choices")
    if choices[0].get("finish_reason") == "error" or choices[0].get("error"):
        raise ValueError(f"an error in the first choice: {choices[0].get('error')}")
    message = choices[0].get("message")
    content = message.get("content") if isinstance(message, dict) else message
    if not isinstance(message, dict) or not isinstance(content, str | None):
        raise ValueError("no text in the first choice")
    finish_reason = choices[0].get("finish_reason")
    logprobs = choices[0].get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    served, usage = response.get("model"), response.get("usage")
    return Reply(
        request_key=request_key,
        text=content or _arguments(message),
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        served_model=served if isinstance(served, str) else None,
        usage=usage if isinstance(usage, dict) else None,
        cached=cached,
        logprobs=tokens if isinstance(tokens, list) else None,
    )


def _arguments(message: dict[str, Any]) -> str:
    """The arguments of the first function that ``message`` calls."""
    match message.get("tool_calls"):
        case [{"function": {"arguments": str(arguments)}}, *_]:
            return arguments
    return ""


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
