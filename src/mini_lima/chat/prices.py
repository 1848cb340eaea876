"""What tokens cost, and what a list of requests will cost before any of them is sent.

Prices are configuration with a date, never code: they change, and old ledgers must stay readable.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from mini_lima.chat.requests import ChatRequest
from mini_lima.chat.tokens import TokenCount, large_input, least_input, most_input, most_output
from mini_lima.errors import UserError

MILLION = 1_000_000
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Prices:
    """Dollars per million tokens of one model.

    Attributes:
        input: Of the prompt.
        output: Of the answer, reasoning included.
        cached_input: Of the part of a prompt that the endpoint had cached; None: as ``input``.
        batch_input: Of the prompt in a batch; None: as ``input``.
        batch_output: Of the answer in a batch; None: as ``output``.
        as_of: The day on which these were the prices, as ``2026-11-23``.

    Raises:
        UserError: a negative price or what is no date.
    """

    input: float
    output: float
    cached_input: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    as_of: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would make every figure after it wrong."""
        for name in ("input", "output", "cached_input", "batch_input", "batch_output"):
            price = getattr(self, name)
            if price is not None and not 0 <= price < math.inf:
                raise UserError(f"prices: {name} must be 0 or more dollars per million tokens")
        try:
            date.fromisoformat(self.as_of or "2000-01-01")
        except ValueError:
            raise UserError(
                f"prices: as_of must be a day such as 2026-11-23, not {self.as_of!r}"
            ) from None

    @property
    def are_zero(self) -> bool:
        """Whether nothing costs anything."""
        named = (self.input, self.output, self.cached_input, self.batch_input, self.batch_output)
        return not any(named)

    def cost(self, tokens: TokenCount, *, batch: bool = False) -> float:
        """Dollars for ``tokens``."""
        dear = tokens.input - tokens.cached_input
        prompt, answer, cached = self.input, self.output, self.cached_input
        if batch:
            prompt = prompt if self.batch_input is None else self.batch_input
            answer = answer if self.batch_output is None else self.batch_output
            cached = prompt
        cached = prompt if cached is None else cached
        return (dear * prompt + tokens.cached_input * cached + tokens.output * answer) / MILLION

    def most(self, request: ChatRequest, *, batch: bool = False) -> float:
        """Dollars that one answer to ``request`` cannot exceed; infinite without a length limit."""
        answer = most_output(request)
        if answer is None and self.output > 0:
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
    shortest_answer: int = 1,
) -> Estimate:
    """Estimate what ``requests`` will take; nothing is sent and no cache is asked.

    Args:
        requests: What is to be asked. See `unanswered` for what of it is still open.
        prices: None leaves the dollars open.
        batch: Whether they go through a batch interface.
        shortest_answer: Tokens that an answer has at the least.

    Returns:
        Prompts between the text that tokenizers pack best and the one they pack worst; answers
        between ``shortest_answer`` and the length limit. Retries are usually not billed and are not
        counted; nor are discounts for cached prompts, which no one can promise.
    """
    number = least = large = fewest = 0
    longest: int | None = 0
    for request in requests:
        limit = most_output(request)
        number += 1
        least += least_input(request)
        large += large_input(request)
        fewest += shortest_answer if limit is None else min(shortest_answer, limit)
        longest = _sum(longest, limit)
    low = high = None
    if prices is not None:
        low = prices.cost(TokenCount(least, fewest), batch=batch)
        if longest is not None:
            high = prices.cost(TokenCount(large, longest), batch=batch)
    return Estimate(number, least, large, fewest, longest, low, high)


def _sum(one: Number | None, other: Number | None) -> Number | None:
    return None if one is None or other is None else one + other
