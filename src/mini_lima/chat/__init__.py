"""Chat completions asked once, kept for ever: the one door to any OpenAI-compatible endpoint.

Teacher and annotator both go through `complete`, whether the answers come from a live endpoint or
from a cassette of recorded ones. Importing this package costs little: asyncio, openai and its
transport are loaded when the first request has to be sent.

    client      what a stage is given, and `complete`: what is sent, what others are asking
    live        many requests at a time, each until it is answered or given up
    faults      what went wrong with an attempt, and when to try again
    adaptation  parameters that a model refuses
    batch       all together: cheaper, within a day
    cache       the answers; in_flight says who is asking what at this moment
    recordings  answers that travel from cache to cache
    ledger      what it took, with prices, tokens and budget

`endpoint` and `requests` are known to all of them.
"""

from mini_lima.chat.batch.files import import_batch, write_batch_input
from mini_lima.chat.budget import Budget
from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.client import LEDGER, Chat, Session, complete, user_says
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import Cost, Ledger, merged, read_ledger, warnings, write_ledger
from mini_lima.chat.prices import Estimate, Prices, estimate
from mini_lima.chat.recordings import (
    REQUESTS,
    Imported,
    export_cassette,
    import_cassette,
    read_cassette,
    read_entries,
    unanswered,
    write_cassette,
)
from mini_lima.chat.requests import (
    CassetteEntry,
    ChatModel,
    ChatRequest,
    Reply,
    completion_body,
)

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
