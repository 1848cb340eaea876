"""What tokens cost, and what a list of requests will cost before any of them is sent.

Prices are configuration with a date, never code: they change, and old ledgers must stay readable.

Tokens are estimated from the text alone. A real tokenizer is no help: most endpoints do not publish
theirs, and tiktoken fetches its vocabularies over the network. Measured with the tokenizers of
GPT-4, GPT-4o, Claude and DeepSeek, prompts and replies of this study have 2.2 to 6.1 UTF-8 bytes to
a token, 4 to 5 on average; Chinese 1.3 to 5.4; only degenerate text comes close to 1, below which a
byte-level tokenizer cannot go. Hence three figures: a range for what something will cost, and a
ceiling, one token per byte, for what it cannot exceed.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from mini_lima.chat.requests import ChatRequest

MILLION = 1_000_000
MOST_CHARACTERS_PER_TOKEN = 6
FEWEST_BYTES_PER_TOKEN = 2
USUAL_BYTES_PER_TOKEN = 4
FRAME = (3, 3)
"""Tokens around a request and around each of its messages, at the least (OpenAI's count)."""
LARGE_FRAME = (32, 8)
"""The same at the most: ChatML with Qwen's unasked-for system prompt comes to 23 and 5."""
MOST_TOKENS = 10**9
"""No call has more: a larger figure is no count."""
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class TokenCount:
    """Tokens of one call; ``cached_input`` is the part of ``input`` that was billed as cached."""

    input: int
    output: int
    cached_input: int = 0


def reported(usage: Any) -> TokenCount | None:
    """What ``usage``, as endpoints spell it, says; None if it says nothing that can be used.

    Some (xAI, Google) count what was thought in the total alone; it is billed as output.
    """
    if not isinstance(usage, dict):
        return None
    prompt, answer = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek's
    if prompt is None or answer is None:
        return None
    total = _count(usage.get("total_tokens")) or 0
    return TokenCount(prompt, max(answer, total - prompt), min(cached or 0, prompt))


def _count(number: Any) -> int | None:
    is_number = type(number) in (int, float) and 0 <= number <= MOST_TOKENS
    return int(number) if is_number and number == int(number) else None


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
    limits = [request.body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max((limit for limit in limits if limit is not None), default=None)


def _bytes(request: ChatRequest) -> int:
    return sum(len(content.encode("utf-8", "surrogatepass")) for _, content in request.messages)


def _framed(frame: tuple[int, int], request: ChatRequest, tokens: int) -> int:
    return frame[0] + frame[1] * len(request.messages) + tokens


@dataclass
class Prices:
    """Dollars per million tokens of one model. Without ``input`` and ``output``, not known."""

    input: float | None = None
    output: float | None = None
    """Of the answer, reasoning included."""
    cached_input: float | None = None
    """Of the part of a prompt that the endpoint had cached; null: as ``input``."""
    batch_input: float | None = None
    batch_output: float | None = None
    as_of: str | None = None
    """The day on which these were the prices, as 2026-11-23."""

    def faults(self) -> Iterator[str]:
        """Yield what would make every figure after it wrong, a line each."""
        for name in ("input", "output", "cached_input", "batch_input", "batch_output"):
            price = getattr(self, name)
            if price is not None and not 0 <= price < math.inf:
                yield f".{name}={price}: must be 0 or more dollars per million tokens"
        if (self.input is None) != (self.output is None):
            yield ": give both input and output, or neither"
        try:
            date.fromisoformat(self.as_of or "2000-01-01")
        except ValueError:
            yield f".as_of={self.as_of}: must be a day, as 2026-11-23"

    @property
    def are_known(self) -> bool:
        """Whether they say anything."""
        return self.input is not None

    @property
    def are_zero(self) -> bool:
        """Whether nothing costs anything."""
        named = (self.input, self.output, self.cached_input, self.batch_input, self.batch_output)
        return not any(named)

    def cost(self, tokens: TokenCount, *, batch: bool = False) -> float:
        """Dollars for ``tokens``, if the prices are known."""
        prompt, answer, cached = self.input, self.output, self.cached_input
        if batch:
            prompt = prompt if self.batch_input is None else self.batch_input
            answer = answer if self.batch_output is None else self.batch_output
            cached = prompt
        cached = prompt if cached is None else cached
        assert prompt is not None
        assert answer is not None
        assert cached is not None
        dear = tokens.input - tokens.cached_input
        return (dear * prompt + tokens.cached_input * cached + tokens.output * answer) / MILLION

    def most(self, request: ChatRequest, *, batch: bool = False) -> float:
        """Dollars that one answer to ``request`` cannot exceed; infinite without a length limit."""
        answer = most_output(request)
        if answer is None and self.output:
            return math.inf
        return self.cost(TokenCount(most_input(request), answer or 0), batch=batch)


@dataclass(frozen=True)
class Estimate:
    """What requests will take, from the least to the most that is plausible.

    ``output_high`` and ``usd_high`` are None where a request sets no length limit, the dollars also
    where prices are not known.
    """

    requests: int
    input_low: int
    input_high: int
    output_low: int
    output_high: int | None
    usd_low: float | None
    usd_high: float | None

    def __add__(self, other: "Estimate") -> "Estimate":
        """Estimate both together."""
        return Estimate(
            self.requests + other.requests,
            self.input_low + other.input_low,
            self.input_high + other.input_high,
            self.output_low + other.output_low,
            _sum(self.output_high, other.output_high),
            _sum(self.usd_low, other.usd_low),
            _sum(self.usd_high, other.usd_high),
        )


def estimate(
    requests: Iterable[ChatRequest],
    prices: Prices | None,
    *,
    batch: bool = False,
) -> Estimate:
    """Estimate what ``requests`` will take; nothing is sent and no cache is asked.

    Args:
        requests: What is to be asked. See `unanswered` for what of it is still open.
        prices: None leaves the dollars open.
        batch: Whether they go through a batch interface.

    Returns:
        Prompts between the text that tokenizers pack best and the one they pack worst; answers
        between one token and the length limit. Retries are usually not billed and are not
        counted; nor are discounts for cached prompts, which no one can promise.
    """
    number = least = large = 0
    longest: int | None = 0
    for request in requests:
        limit = most_output(request)
        number += 1
        least += least_input(request)
        large += large_input(request)
        longest = _sum(longest, limit)
    low = high = None
    if prices is not None:
        low = prices.cost(TokenCount(least, number), batch=batch)
        if longest is not None:
            high = prices.cost(TokenCount(large, longest), batch=batch)
    return Estimate(number, least, large, number, longest, low, high)


def _sum(one: Number | None, other: Number | None) -> Number | None:
    return None if one is None or other is None else one + other
