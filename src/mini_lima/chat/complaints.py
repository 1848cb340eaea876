"""What is said when a call of `complete` cannot go on: what is kept, why it ended, what to do."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.chat.budget import Budget
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.prices import Estimate, Prices
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError

if TYPE_CHECKING:
    from mini_lima.chat.faults import Fault


def unanswered(
    endpoint: Endpoint, faults: Sequence["Fault"], answered: int, untried: int, total: int
) -> str:
    """Say that requests stayed unanswered."""
    counts = Counter(fault.text for fault in faults).most_common(3)
    reasons = ", ".join(f"{count} × {reason}" for reason, count in counts)
    left = f", {untried} were not tried" if untried else ""
    return (
        f"endpoint {endpoint.name!r}: {answered} of {total} requests are answered and kept, "
        f"{len(faults)} failed ({reasons}){left}; run the same command again to go on"
    )


def not_recorded(missing: Sequence[ChatRequest], cassette: Path, total: int) -> str:
    """Say that a cassette does not hold all that is asked."""
    last_message = missing[0].messages[-1][1] if missing[0].messages else ""
    beginning = " ".join(last_message.split())[:80]
    return (
        f"{len(missing)} of {total} requests are not on the cassette {cassette}, the first of them "
        f"{missing[0].key} ({beginning!r}): a recorded teacher answers only the shipped seeds and "
        "prompts, for anything else choose a live teacher"
    )


def check_that_a_budget_can_be_kept(requests: Sequence[ChatRequest], prices: Prices | None) -> None:
    """Raise UserError if the most that a call can cost is not known."""
    models = ", ".join(sorted({request.model for request in requests}))
    if prices is None:
        raise UserError(
            f"budget_usd is set, but the prices of {models} are not: give them, or take the budget "
            "away"
        )
    if any(prices.most(request) == math.inf for request in requests):
        raise UserError(
            f"budget_usd is set, but the answers of {models} have no limit, so no call has a "
            "highest price: set max_tokens (or max_completion_tokens)"
        )


def out_of_money(label: str, budget: Budget, answered: int, total: int, left: Estimate) -> str:
    """Say that the next call could pass the budget."""
    lost = f", and up to ${budget.lost_usd:.4f} for lost calls" if budget.lost_usd else ""
    return (
        f"{label}: stopped before the call that could pass budget_usd={budget.limit_usd:g}. Spent: "
        f"${budget.spent_usd:.4f}{lost}. {answered} of {total} requests are answered and kept; the "
        f"other {left.requests} cost ${left.usd_low:.4f} to ${left.usd_high:.4f}: run the same "
        "command again with as much budget, kept answers cost nothing"
    )
