"""What calls are charged to, in one piece."""

from dataclasses import dataclass

from mini_lima.chat.budget import Budget
from mini_lima.chat.ledger import Ledger
from mini_lima.chat.prices import Prices


@dataclass(frozen=True)
class Account:
    """The ledger that says what calls did take, the prices, and the budget that may end them."""

    ledger: Ledger
    prices: Prices | None
    budget: Budget
