"""The output of a batch, taken in line by line: answers are kept, the rest is told apart.

Lines come in any order and may be of a batch that another process made. What answers no request of
the batch, or cannot be read, is no loss: its request is missing then, and missing ones are told.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mini_lima.chat.account import Account
from mini_lima.chat.adaptation import learn, refused_parameter
from mini_lima.chat.batch.batch_table import Batch, BatchBook, Line
from mini_lima.chat.batch.files import NoAnswerError, answer
from mini_lima.chat.batch.submission import sent_body
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest
from mini_lima.chat.tokens import reported

EXPIRED, FAILED, MISSING = "batch_expired", "batch_error", "batch_missing"

Keep = Callable[[ChatRequest, Any, Mapping[str, Any]], None]


@dataclass
class Harvest:
    """What the output of a batch came to.

    Attributes:
        usd: What it did cost, where no tokens are reported at its most.
        reasons: Why requests have no answer, in words.
        codes: The same as reason codes.
        again: Requests that are free for another batch, because of what was learnt from this one.
    """

    usd: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    again: int = 0

    def miss(self, code: str, reason: str, requests: int = 1) -> None:
        """Count requests without an answer."""
        self.codes[code] += requests
        self.reasons[reason] += requests


def harvest(
    lines: Iterable[bytes],
    batch: Batch,
    *,
    book: BatchBook,
    endpoint: Endpoint,
    account: Account,
    keep: Keep,
) -> Harvest:
    """Take in what ``batch`` brought.

    Args:
        lines: Of its output and its error file.
        batch: Whose requests they answer.
        book: Where those stand.
        endpoint: Which worked on it.
        account: Is charged with every answer, batch prices applied.
        keep: Takes a request, its answer and how it was made.
    """
    found = Harvest()
    for text in lines:
        row = _row(text)
        if row is None:
            continue
        line = book.line(batch, row["custom_id"])
        try:
            response = answer(row["custom_id"], row)
        except NoAnswerError as error:
            if line is not None and _can_do_without(error, line, endpoint):
                book.free(line.request)
                found.again += 1
            elif line is not None:
                expired = error.code == EXPIRED
                found.miss(EXPIRED if expired else FAILED, str(error))
            continue
        found.usd += _charge(response, line, account)
        if line is not None:
            keep(line.request, response, line.made)
    missing = sum(1 for _ in book.unanswered(batch)) - found.codes.total()
    if missing > 0:
        found.miss(MISSING, "no line that can be read", missing)
    return found


def _row(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    is_line = isinstance(row, dict) and isinstance(row.get("custom_id"), str)
    return row if is_line else None


def _can_do_without(error: NoAnswerError, line: Line, endpoint: Endpoint) -> bool:
    """Whether the line failed by a parameter that is left out from now on."""
    refused = refused_parameter(error.status or 0, error.code, error.parameter, str(error))
    return refused is not None and learn(refused, sent_body(line), line.request, endpoint)


def _charge(response: Mapping[str, Any], line: Line | None, account: Account) -> float:
    usage = response.get("usage")
    tokens = reported(usage if isinstance(usage, dict) else None)
    account.ledger.spent.add(tokens, account.prices, batch=True)
    if account.prices is None:
        return 0.0
    if tokens and tokens.input:
        return account.prices.cost(tokens, batch=True)
    return 0.0 if line is None else account.prices.most(line.request, batch=True)
