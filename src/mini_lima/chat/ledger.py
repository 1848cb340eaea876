"""What asking took and what it may take: the ledger and the budget.

A run that resumes spends little and uses much. So two sums are kept apart: ``spent`` is what calls
of this run were charged with, ``value`` is what all replies that were used did cost when they were
made, this run or earlier. Ledgers of several calls, stages or runs add up with `merged`.

A budget is a limit in dollars that no call can pass, because each is paid for in advance. Before a
call is sent, the most that it can cost is set aside; when it is over, what it did cost takes that
place. Calls in flight therefore count in full, and the run ends before the first call that could
pass the limit, not after it. A call whose answer got lost, on a connection that broke or a
time-out, may be billed all the same: it stays set aside at its most, and is shown separately.
"""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mini_lima.chat.prices import Prices, TokenCount, reported
from mini_lima.chat.replies import Reply
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError
from mini_lima.files import read_json, write_json

NOT_SAID = "(not said)"
GROWTH = 1.05
SHORTEST = 1e-4

log = logging.getLogger(__name__)


@dataclass
class Cost:
    """Replies with the tokens that were reported for them, and their price."""

    replies: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Replies whose price is not in ``usd``: no prices were given, or no tokens reported."""

    def add(self, tokens: TokenCount | None, prices: Prices | None, *, batch: bool = False) -> None:
        """Count one reply."""
        self.replies += 1
        if tokens is not None:
            self.input_tokens += tokens.input
            self.cached_input_tokens += tokens.cached_input
            self.output_tokens += tokens.output
        if prices is not None and prices.are_zero:
            return  # whatever it took
        if tokens is None or prices is None:
            self.unpriced += 1
        else:
            self.usd += prices.cost(tokens, batch=batch)


@dataclass
class Latency:
    """How long answers took: percentiles of any number of calls in a handful of numbers.

    Durations are counted in classes that grow by 5%, so that ledgers of a hundred thousand calls
    stay small and two of them merge exactly. A percentile read from the classes is within 2.5% of
    the true one.

    Attributes:
        classes: Counts of durations in seconds, by the power of `GROWTH` that they lie above; keys
            are texts because JSON knows no others.
    """

    classes: dict[str, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one call."""
        number = str(math.floor(math.log(max(seconds, SHORTEST), GROWTH)))
        self.classes[number] = self.classes.get(number, 0) + 1

    def percentile(self, share: float) -> float | None:
        """The duration within which ``share`` (0 to 1) of the calls were answered; None of none."""
        rank = math.ceil(share * sum(self.classes.values()))
        for number, count in sorted((int(key), count) for key, count in self.classes.items()):
            rank -= count
            if rank <= 0:
                return float(GROWTH ** (number + 0.5))
        return None


@dataclass
class Ledger:
    """Counts of one or more calls of `complete`; a repeated request counts once per call."""

    requests: int = 0
    from_cache: int = 0
    """Requests that needed no call: answered earlier, or by another process meanwhile."""
    from_cassette: int = 0
    sent: int = 0
    """Attempts that went to the endpoint, retries included."""
    retries: dict[str, int] = field(default_factory=dict)
    """Attempts that were repeated, by the reason code of the failure."""
    failed: dict[str, int] = field(default_factory=dict)
    """Requests that were given up, by reason code."""
    lost: int = 0
    """Attempts that ended without an answer and may be billed all the same."""
    lost_usd: float = 0.0
    """The most that they can be billed with, as far as it is known."""
    dearer: int = 0
    """Calls that were billed with more than prices and length limits allow."""
    dearer_usd: float = 0.0
    """By how much, together."""
    spent: Cost = field(default_factory=Cost)
    value: Cost = field(default_factory=Cost)
    latency: Latency = field(default_factory=Latency)
    """Of the attempts that gave the replies, as they were made."""
    served_models: dict[str, dict[str, int]] = field(default_factory=dict)
    """Replies by the model that was asked for and the one that the endpoint says it used."""
    usage_missing: int = 0
    usage_zero: int = 0
    empty: int = 0
    """Replies in which nothing is said."""
    adapted: dict[str, dict[str, str]] = field(default_factory=dict)
    """Parameters that a model refused, and how its replies were got without them: what is sent to
    it from then on (see `live`)."""

    def count_reply(
        self, request: ChatRequest, reply: Reply, made: Mapping[str, Any], prices: Prices | None
    ) -> None:
        """Count a reply that is used; ``made`` is what the cache knows about its making."""
        tokens = reported(reply.usage)
        self.value.add(tokens, prices, batch=bool(made.get("batch")))
        self.empty += not reply.text.strip()
        by_name = self.served_models.setdefault(request.model, {})
        count(by_name, reply.served_model or NOT_SAID)
        if tokens is None:
            self.usage_missing += 1
        elif not tokens.input or (reply.text and not tokens.output):
            self.usage_zero += 1
        if isinstance(seconds := made.get("seconds"), int | float):
            self.latency.add(seconds)
        if isinstance(adapted := made.get("adapted"), dict):
            self.adapted.setdefault(request.model, {}).update(adapted)

    def count_excess(self, usd: float, most_usd: float) -> None:
        """Count a call that was billed with ``usd``, if that is more than it could cost."""
        if usd > most_usd > 0:
            self.dearer += 1
            self.dearer_usd += usd - most_usd


def count(counts: dict[str, int], name: str, number: int = 1) -> None:
    """Add ``number`` to ``name``."""
    counts[name] = counts.get(name, 0) + number


def merged(ledgers: Iterable[Ledger]) -> Ledger:
    """One ledger for all of ``ledgers``."""
    total: Ledger = Ledger()
    for ledger in ledgers:
        total = _sum(total, ledger)
    return total


def _sum(one: Any, other: Any) -> Any:
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        return type(one)(**{name: _sum(getattr(one, name), getattr(other, name)) for name in names})
    if isinstance(one, dict):
        both = {key: _sum(one[key], other[key]) for key in one.keys() & other.keys()}
        return dict(sorted({**one, **other, **both}.items()))
    return max(one, other) if isinstance(one, str) else one + other


def warnings(ledger: Ledger) -> list[str]:
    """What a reader of the results must know about how they came about, a line each."""
    found = []
    for asked, served in ledger.served_models.items():
        if len(served) > 1:
            names = ", ".join(f"{name} ({served[name]})" for name in sorted(served))
            found.append(
                f"{len(served)} models answered under the name {asked}: {names}; what they wrote "
                "may differ in kind"
            )
    if ledger.usage_zero:
        found.append(
            f"{ledger.usage_zero} of {ledger.value.replies} replies report zero tokens: their cost "
            "is not known, and a reseller may have answered them with another model"
        )
    if ledger.usage_missing > ledger.from_cassette:
        found.append(
            f"{ledger.usage_missing} of {ledger.value.replies} replies report no tokens: their "
            "cost is not known"
        )
    for model, parameters in ledger.adapted.items():
        changes = ", ".join(f"{name} was {what}" for name, what in sorted(parameters.items()))
        found.append(f"{model} refuses parameters that were asked for: {changes}")
    if ledger.lost:
        found.append(
            f"{ledger.lost} calls ended without an answer and may be billed all the same, with up "
            f"to ${ledger.lost_usd:.2f}"
        )
    if ledger.dearer:
        found.append(
            f"{ledger.dearer} calls were billed with ${ledger.dearer_usd:.2f} more than prices and "
            "length limits allow: check the prices, and what the endpoint counts"
        )
    return found


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write ``ledger`` to ``path`` as JSON, with its percentiles and warnings; log the latter."""
    document = dataclasses.asdict(ledger)
    document["latency"] |= {
        "p50": ledger.latency.percentile(0.50),
        "p95": ledger.latency.percentile(0.95),
    }
    said = warnings(ledger)
    write_json(path, {**document, "warnings": said})
    for line in said:
        log.warning("%s", line)


def read_ledger(path: Path) -> Ledger:
    """Read what `write_ledger` wrote."""
    document = read_json(path)
    del document["warnings"]
    latency = Latency(document.pop("latency")["classes"])
    spent, value = Cost(**document.pop("spent")), Cost(**document.pop("value"))
    return Ledger(**document, spent=spent, value=value, latency=latency)


@dataclass
class Charge:
    """The cost of a call or batch in flight: at the most, until better is known."""

    usd: float
    certain: bool = False

    def settle(self, usd: float) -> None:
        """Say what the call did cost."""
        self.usd, self.certain = usd, True


class Budget:
    """Dollars for all calls of one run, of whatever model; belongs to one process.

    Attributes:
        limit_usd: What may be spent.
        spent_usd: What answers did cost.
        lost_usd: What calls without an answer may be billed with.

    Raises:
        UserError: ``limit_usd`` is no amount of money.
    """

    def __init__(self, limit_usd: float = math.inf) -> None:
        """Start with nothing spent."""
        if not limit_usd >= 0:
            raise UserError(f"budget_usd must be 0 or more dollars, not {limit_usd}")
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self.lost_usd = 0.0
        self._set_aside: dict[int, float] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the budget itself: copied, its money could be spent twice."""
        return self

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.limit_usd < math.inf

    @property
    def in_flight(self) -> bool:
        """Whether money is set aside that may come back."""
        return bool(self._set_aside)

    def fits(self, most_usd: float) -> bool:
        """Whether a call that costs ``most_usd`` or less cannot pass the limit."""
        committed = self.spent_usd + self.lost_usd + math.fsum(self._set_aside.values())
        return not self.is_limited or committed + most_usd <= self.limit_usd

    def set_aside(self, most_usd: float) -> Charge:
        """Set ``most_usd`` aside for what is going to be paid for, until it is counted."""
        charge = Charge(most_usd)
        self._set_aside[id(charge)] = most_usd
        return charge

    def count(self, charge: Charge) -> None:
        """Count ``charge``, for which nothing is set aside any more."""
        del self._set_aside[id(charge)]
        if charge.certain:
            self.spent_usd += charge.usd
        else:
            self.lost_usd += charge.usd

    @contextlib.contextmanager
    def call(self, most_usd: float) -> Iterator[Charge]:
        """Set ``most_usd`` aside while one call lasts, then count its charge."""
        charge = self.set_aside(most_usd)
        try:
            yield charge
        finally:
            self.count(charge)
