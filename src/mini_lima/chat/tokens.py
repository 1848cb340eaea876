"""Token counts: as an endpoint reported them, and as far as they can be known beforehand.

Beforehand they are estimated from the text alone. A real tokenizer is no help: most endpoints do
not publish theirs, and tiktoken fetches its vocabularies over the network. Measured with the
tokenizers of GPT-4, GPT-4o, Claude and DeepSeek, prompts and replies of this study have 2.2 to 6.1
UTF-8 bytes to a token, 4 to 5 on average; Chinese 1.3 to 5.4; only degenerate text comes close to
1, below which a byte-level tokenizer cannot go. Hence three figures: a range for what something
will cost, and a ceiling, one token per byte, for what it cannot exceed.
"""

from dataclasses import dataclass
from typing import Any

from mini_lima.chat.requests import ChatRequest

MOST_CHARACTERS_PER_TOKEN = 6
FEWEST_BYTES_PER_TOKEN = 2
USUAL_BYTES_PER_TOKEN = 4
FRAME = (3, 3)
"""Tokens around a request and around each of its messages, at the least (OpenAI's count)."""
LARGE_FRAME = (32, 8)
"""The same at the most: ChatML with Qwen's unasked-for system prompt comes to 23 and 5."""


@dataclass(frozen=True)
class TokenCount:
    """Tokens of one call; ``cached_input`` is the part of ``input`` that was billed as cached."""

    input: int
    output: int
    cached_input: int = 0


def reported(usage: dict[str, Any] | None) -> TokenCount | None:
    """What ``usage``, as endpoints spell it, says; None if it says nothing that can be used."""
    if usage is None:
        return None
    counted = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None:
        cached = usage.get("prompt_cache_hit_tokens")  # DeepSeek's
    if not all(_is_count(number) for number in counted):
        return None
    prompt, answer = counted
    assert prompt is not None
    assert answer is not None
    return TokenCount(prompt, answer, min(cached, prompt) if _is_count(cached) else 0)


def _is_count(number: Any) -> bool:
    return type(number) is int and number >= 0


def least_input(request: ChatRequest) -> int:
    """Tokens of the prompt, if it is the text that a tokenizer packs best."""
    characters = sum(len(content) for _, content in request.messages)
    return _framed(FRAME, request, characters // MOST_CHARACTERS_PER_TOKEN)


def usual_input(request: ChatRequest) -> int:
    """Tokens of the prompt, about."""
    return _framed(FRAME, request, _bytes(request) // USUAL_BYTES_PER_TOKEN)


def large_input(request: ChatRequest) -> int:
    """Tokens of the prompt, if it is the text that a tokenizer packs worst, in any language."""
    return _framed(LARGE_FRAME, request, _bytes(request) // FEWEST_BYTES_PER_TOKEN)


def most_input(request: ChatRequest) -> int:
    """More tokens than the prompt can have: one per byte."""
    return _framed(LARGE_FRAME, request, _bytes(request))


def most_output(request: ChatRequest) -> int | None:
    """More tokens than the answer can have; None if the request sets no limit."""
    limits = [request.max_tokens, request.max_completion_tokens]
    return max((limit for limit in limits if limit is not None), default=None)


def _bytes(request: ChatRequest) -> int:
    return sum(len(content.encode("utf-8", "surrogatepass")) for _, content in request.messages)


def _framed(frame: tuple[int, int], request: ChatRequest, tokens: int) -> int:
    return frame[0] + frame[1] * len(request.messages) + tokens
