"""Chat completions asked once, kept for ever: the one door to any OpenAI-compatible endpoint.

Teacher and annotator both go through `complete`, whether the answers come from a live endpoint or
from a cassette of recorded ones. Importing this package costs little: asyncio, openai and its
transport are loaded when the first request has to be sent.

    session     what a stage is given, and the files that it leaves about its asking
    client      `complete`: requests in, replies out
    rounds      what of them is sent, and what others are asking, until all are answered
    dispatch    many at a time
    asking      one, until it is answered or given up: pace, retries, faults, adaptation
    wire        one attempt
    batch       all together: cheaper, within a day
    cache       the answers, with the claims of those who are asking
    cassette    answers that travel, with exchange
    account     what it takes: ledger, prices, tokens, budget

So it goes from the outside in; `endpoint` and `requests` are known to all of them.
"""

from mini_lima.chat.batch.files import import_batch, write_batch_input
from mini_lima.chat.budget import Budget
from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.cassette import (
    CassetteEntry,
    completion_body,
    read_cassette,
    read_entries,
    write_cassette,
)
from mini_lima.chat.client import complete
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.exchange import (
    Imported,
    export_cassette,
    import_cassette,
    unanswered,
)
from mini_lima.chat.ledger import Cost, Ledger, merged, read_ledger, warnings, write_ledger
from mini_lima.chat.prices import Estimate, Prices, estimate
from mini_lima.chat.requests import ChatModel, ChatRequest, Reply
from mini_lima.chat.session import LEDGER, REQUESTS, Chat, Session, user_says

__all__ = [
    "LEDGER",
    "REQUESTS",
    "Budget",
    "CassetteEntry",
    "Chat",
    "ChatModel",
    "ChatRequest",
    "Cost",
    "Endpoint",
    "Estimate",
    "Imported",
    "Ledger",
    "Prices",
    "Reply",
    "ResponseCache",
    "Session",
    "complete",
    "completion_body",
    "estimate",
    "export_cassette",
    "import_batch",
    "import_cassette",
    "merged",
    "read_cassette",
    "read_entries",
    "read_ledger",
    "unanswered",
    "user_says",
    "warnings",
    "write_batch_input",
    "write_cassette",
    "write_ledger",
]
