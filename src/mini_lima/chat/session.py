"""A model to talk to, as a stage is given it, and one stage's dealings with it.

A `Chat` is what configuration says: which model, where, at what price, within which budget, with
which cache. A `Session` belongs to one run of one stage. It leaves two files beside the stage's
output: ``ledger.json``, what asking took, and ``requests.json``, the keys of all that was answered,
by which the answers can be exported and replayed elsewhere.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat.budget import Budget
from mini_lima.chat.client import complete
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import Ledger, write_ledger
from mini_lima.chat.prices import Prices
from mini_lima.chat.requests import ChatModel, Reply
from mini_lima.chat.tokens import reported
from mini_lima.files import write_json

LEDGER = "ledger.json"
REQUESTS = "requests.json"


@dataclass(frozen=True)
class Chat:
    """A model, where it is reached, what it costs, and the cache that keeps its answers."""

    model: ChatModel
    endpoint: Endpoint
    cache: Path
    prices: Prices | None = None
    budget: Budget = field(default_factory=Budget)

    @property
    def identity(self) -> dict[str, Any]:
        """Who answers; neither price nor place is a part of that."""
        return {"model": self.model.identity, "endpoint": self.endpoint.identity}

    def cost(self, reply: Reply) -> float | None:
        """Dollars for ``reply`` at the live price; None where tokens or prices are not known."""
        tokens = reported(reply.usage)
        return None if tokens is None or self.prices is None else self.prices.cost(tokens)

    @contextlib.contextmanager
    def session(self, output_dir: Path) -> Iterator["Session"]:
        """Ask on behalf of the stage that writes ``output_dir``; its two files come at the end."""
        session = Session(self)
        yield session
        write_ledger(output_dir / LEDGER, session.ledger)
        keys = sorted(session.keys)
        write_json(output_dir / REQUESTS, {"endpoint": self.endpoint.identity, "keys": keys})


class Session:
    """Questions that are booked together.

    Attributes:
        chat: Whom they go to.
        ledger: What they took so far.
        keys: Of the requests that were answered.
    """

    def __init__(self, chat: Chat) -> None:
        """Begin with nothing asked."""
        self.chat = chat
        self.ledger = Ledger()
        self.keys: set[str] = set()

    def ask(
        self,
        conversations: Iterable[Sequence[tuple[str, str]]],
        *,
        label: str,
        sample: int | Sequence[int] = 0,
    ) -> list[Reply]:
        """Have ``conversations`` continued, each a list of (role, content) pairs.

        Args:
            conversations: What to send.
            label: Names this work in the progress display.
            sample: Asks anew what was asked with a lower one, instead of repeating its answer; one
                for all, or one for each.

        Returns:
            A reply to each, in their order. One that cannot be had has an ``error``.

        Raises:
            UserError: See `complete`.
            ConnectionError: See `complete`.
        """
        chat = self.chat
        asked = list(conversations)
        samples = [sample] * len(asked) if isinstance(sample, int) else sample
        requests = [
            chat.model.request(each, sample=number)
            for each, number in zip(asked, samples, strict=True)
        ]
        replies = complete(
            requests,
            endpoint=chat.endpoint,
            cache=chat.cache,
            label=label,
            failures="return",
            ledger=self.ledger,
            prices=chat.prices,
            budget=chat.budget,
        )
        self.keys.update(reply.request_key for reply in replies if reply.error is None)
        return replies


def user_says(prompts: Iterable[str]) -> list[list[tuple[str, str]]]:
    """Conversations that consist of one message of the user's each."""
    return [[("user", prompt)] for prompt in prompts]
