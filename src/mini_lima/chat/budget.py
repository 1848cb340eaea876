"""A limit in dollars that no call can pass, because each is paid for in advance.

Before a call is sent, the most that it can cost is set aside; when it is over, what it did cost
takes that place. Calls in flight therefore count in full, and the run ends before the first call
that could pass the limit, not after it. A call whose answer got lost, on a connection that broke or
a time-out, may be billed all the same: it stays set aside at its most, and is shown separately.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from mini_lima.chat.ledger import Ledger
from mini_lima.chat.prices import Prices
from mini_lima.errors import UserError


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


@dataclass(frozen=True)
class Account:
    """What calls are charged to: the ledger, the prices, and the budget that may end them."""

    ledger: Ledger
    prices: Prices | None
    budget: Budget
