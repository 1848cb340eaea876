"""What comes back: the one place where a response becomes an answer, or the reason why it is none.

Servers leave most fields out, and some fill them with what is none of their kind. Whatever they
send, live, in a batch or on a recording, either is understood, or is one failed request.
"""

import json
from dataclasses import dataclass
from typing import Any

from mini_lima.chat import thinking
from mini_lima.chat.requests import ChatRequest
from mini_lima.files.tables import plain_text

NO_COMPLETION = "no_completion"
"""What came is not a chat completion: a gateway's page, JSON without choices."""
ONLY_THOUGHT = "only_thought"
"""Why there is no answer: the model thought, until its length limit or its end, and said nothing."""
THOUGHT = "a thought and no answer: allow more tokens, or have the model think less"
"""The same for people."""
MOST_NESTED = 100
"""Levels of a response's JSON: what could be read once must be readable from the cache, too."""
LARGEST = 2**63
"""No number of a response is as large; other programs could not read one that is."""
MAY_PASS = (408, 409, 425, 429)
"""Statuses of errors of the client's, as they are counted, that another attempt may not meet."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request.

    Attributes:
        request_key: Which request it answers.
        text: What the model wrote, without its thought; empty if it called a function instead.
        finish_reason: Why it stopped, as the endpoint says it.
        served_model: The model that the endpoint says it used.
        usage: Token counts as the endpoint reported them.
        cached: Whether it was in the cache already.
        logprobs: Per token of the answer, if the request asked for them: ``token``, ``logprob`` and
            ``top_logprobs``.
        error: Why there is no answer, as a reason code; None if there is one.
        detail: The same in one line for people.
        thought: What the model thought before; None if it did not.
        opened_by_prompt: Whether the thought has an end tag alone: the prompt has opened it.
    """

    request_key: str
    text: str
    finish_reason: str | None = None
    served_model: str | None = None
    usage: dict[str, Any] | None = None
    cached: bool = False
    logprobs: list[dict[str, Any]] | None = None
    error: str | None = None
    detail: str | None = None
    thought: str | None = None
    opened_by_prompt: bool = False


class UnreadableError(ValueError):
    """A response in a shape that is no chat completion, and would not be one if asked again."""


def parse(text: str) -> Any:
    """Read JSON as it came over the wire into what any file and program can hold.

    A reply that is cut in the middle of an emoji can end in half a surrogate pair, which no UTF-8
    file can hold: it becomes U+FFFD here, before anyone sees it. NaN, infinities and numbers of
    more than 64 bits become null.

    Raises:
        UnreadableError: it is no JSON, or nested deeper than any completion.
    """
    try:
        return _storable(json.loads(text), MOST_NESTED)
    except RecursionError:
        raise UnreadableError("nested too deeply to be read") from None
    except ValueError:
        head = text[:80]
        if head.lstrip().startswith(("data:", "event:")):
            raise UnreadableError(
                f"a stream of events, which was not asked for: {head!r}"
            ) from None
        raise UnreadableError(f"not JSON: {head!r}" if text.strip() else "an empty body") from None


def _storable(document: Any, levels: int) -> Any:
    if isinstance(document, dict | list) and not levels:
        raise RecursionError
    if isinstance(document, dict):
        items = document.items()
        return {_storable(key, levels): _storable(value, levels - 1) for key, value in items}
    if isinstance(document, list):
        return [_storable(each, levels - 1) for each in document]
    if isinstance(document, str):
        return plain_text(document)
    if isinstance(document, int | float) and not -LARGEST < document < LARGEST:
        return None
    return document


def read_reply(request_key: str, response: Any, *, cached: bool) -> Reply:
    """Read a ``chat.completion`` body as servers really write it: most fields may be absent.

    A reply that is nothing but a thought has an ``error`` and no text.

    Raises:
        UnreadableError: ``response`` has another shape.
        ValueError: it tells an error instead, which may pass.
    """
    if not isinstance(response, dict):
        raise UnreadableError(f"a JSON object was expected, not {json.dumps(response)[:200]}")
    choices = response.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        raise error_in(response.get("error"), f"no choices: {json.dumps(response)[:200]}")
    choice = choices[0]
    if choice.get("finish_reason") == "error" or choice.get("error"):
        raise error_in(choice.get("error") or "(not said)", "an error in the first choice")
    said = thinking.of_message(choice.get("message"))
    if said is None:
        raise UnreadableError(f"no text in the first choice: {json.dumps(choice)[:200]}")
    finish_reason, logprobs = choice.get("finish_reason"), choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if isinstance(tokens, list) and said.thought is not None:
        tokens = thinking.tokens_of(said.answer, tokens)
    served, usage = response.get("model"), response.get("usage")
    error: str | None = None
    if not said.answer.strip() and (said.thought is not None or _thought_unseen(usage)):
        error = ONLY_THOUGHT
    return Reply(
        request_key=request_key,
        text="" if error else said.answer,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        served_model=served if isinstance(served, str) else None,
        usage=usage if isinstance(usage, dict) else None,
        cached=cached,
        logprobs=tokens if isinstance(tokens, list) else None,
        error=error,
        detail=THOUGHT if error else None,
        thought=said.thought,
        opened_by_prompt=said.opened_by_prompt,
    )


def _thought_unseen(usage: Any) -> bool:
    """Whether a model has thought, by ``usage`` alone: OpenAI shows no thought."""
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    tokens = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return isinstance(tokens, int) and tokens > 0


def error_in(told: Any, otherwise: str) -> ValueError:
    """What to raise for ``told``: some routers wrap errors of a model in a response of status 200."""
    reason = told.get("message") if isinstance(told, dict) else told
    code = told.get("code") if isinstance(told, dict) else None
    if not reason:
        return UnreadableError(otherwise)
    is_ours = isinstance(code, int) and 400 <= code < 500 and code not in MAY_PASS
    return (UnreadableError if is_ours else ValueError)(f"an error in place of an answer: {reason}")


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
