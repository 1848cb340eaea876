"""What is said when a call of `complete` cannot go on: what is kept, why it ended, what to do."""

import math
import time
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
    return (
        f"{len(missing)} of {total} requests are not on the cassette {cassette}, the first of them "
        f"{_first(missing)}: a recorded teacher answers only the shipped seeds and "
        "prompts, for anything else choose a live teacher"
    )


def not_kept(missing: Sequence[ChatRequest], endpoint: Endpoint, total: int) -> str:
    """Say that a cache does not hold all that is asked, and nothing may be sent."""
    return (
        f"mode=replay: {len(missing)} of {total} requests to endpoint {endpoint.name!r} are not in "
        f"the response cache, the first of them {_first(missing)}: import the cassette of the run "
        "that is to be replayed, or ask with mode=live"
    )


def _first(missing: Sequence[ChatRequest]) -> str:
    last_message = missing[0].messages[-1][1] if missing[0].messages else ""
    return f"{missing[0].key} ({' '.join(last_message.split())[:80]!r})"


def hopeless(endpoint: Endpoint, fault: "Fault") -> str:
    """Say that nothing will be answered before a person does something."""
    return f"endpoint {endpoint.name!r} refuses every request ({fault.text}): {fault.remedy}"


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


def out_of_money(
    label: str, budget: Budget, answered: int, total: int, left: Estimate, *, next_: str
) -> str:
    """Say that what comes next, a call or a batch, could pass the budget."""
    lost = f", and up to ${budget.lost_usd:.4f} for lost calls" if budget.lost_usd else ""
    return (
        f"{label}: stopped before the {next_} that could pass budget_usd={budget.limit_usd:g}. "
        f"Spent: ${budget.spent_usd:.4f}{lost}. {answered} of {total} requests are answered and "
        f"kept; the other {left.requests} cost ${left.usd_low:.4f} to ${left.usd_high:.4f}: run "
        "the same command again with as much budget, kept answers cost nothing"
    )


def no_batch_interface(endpoint: Endpoint, text: str) -> str:
    """Say that there is nothing to give a batch to."""
    return (
        f"endpoint {endpoint.name!r}: this endpoint has no batch interface ({text}): choose "
        "mode=live"
    )


def not_taken(endpoint: Endpoint, fault: "Fault") -> str:
    """Say that an endpoint refuses what the batch interface was asked."""
    return (
        f"endpoint {endpoint.name!r} does not take the batch ({fault.text}): put right what it "
        "names, or choose mode=live"
    )


def refused_batch(endpoint: Endpoint, size: int, errors: Sequence[str]) -> str:
    """Say that a batch was refused as a whole, when it was read."""
    reasons = "; ".join(errors[:3]) or "it does not say why"
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    return (
        f"endpoint {endpoint.name!r} refused the batch of {size} requests ({reasons}{more}): put "
        "that right, or choose mode=live; nothing of it was paid for"
    )


def out_of_reach(endpoint: Endpoint, fault: "Fault") -> str:
    """Say that the batch interface does not answer now."""
    return (
        f"endpoint {endpoint.name!r}: the batch interface is out of reach ({fault.text}); batches "
        "that were submitted go on there and are kept account of: run the same command again"
    )


def unknown_batch(endpoint: Endpoint, size: int, begun_at: float, given_up_at: float) -> str:
    """Say that the endpoint does not know a batch which may have been paid for."""
    begun, end = (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (begun_at, given_up_at)
    )
    return (
        f"endpoint {endpoint.name!r} does not know the batch with {size} requests that was "
        f"submitted to it on {begun}: use the base_url and the key of the account it belongs to; "
        f"from {end} on it is given up, and its requests are asked anew"
    )
