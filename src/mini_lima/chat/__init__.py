"""Chat completions asked once, kept for ever: the one door to any OpenAI-compatible endpoint.

Teacher and annotator both go through `complete`, whether the answers come from a live endpoint or
from a cassette of recorded ones. Importing this package costs little: asyncio, openai and its
transport are loaded when the first request has to be sent.

    client      what a stage is given, and `complete`: what is answered, and from where
    work        what is still open, and what came
    live        many requests at a time, each until it is answered or given up
    batches     all together: cheaper, within a day (`batch_table`: who waits for which)
    wire        calls over one connection; `faults`: what went wrong, and when to try again
    replies     what comes back, read; `thinking`: told from the thought before it
    cache       the answers; `in_flight`: who is asking what at this moment
    recordings  answers that travel from cache to cache
    ledger      what it took, with the budget; `prices`: what tokens cost

`endpoint` and `requests` are known to all of them.
"""

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.client import LEDGER, Chat, Session, complete, user_says
from mini_lima.chat.endpoint import (
    ChatMode,
    Connection,
    Endpoint,
    address_faults,
    environment_faults,
    key_variable_faults,
)
from mini_lima.chat.ledger import Budget, Cost, Ledger, merged, read_ledger, warnings, write_ledger
from mini_lima.chat.prices import USUAL_BYTES_PER_TOKEN, Estimate, Prices, estimate
from mini_lima.chat.recordings import (
    REQUESTS,
    export_cassette,
    import_cassette,
    read_cassette,
    read_entries,
    unanswered,
    write_cassette,
)
from mini_lima.chat.replies import ONLY_THOUGHT, CassetteEntry, Reply, completion_body, read_reply
from mini_lima.chat.requests import ChatModel, ChatRequest
from mini_lima.chat.thinking import opened_by, separate
from mini_lima.chat.work import are_too_many

__all__ = [
    "LEDGER",
    "ONLY_THOUGHT",
    "REQUESTS",
    "USUAL_BYTES_PER_TOKEN",
    "Budget",
    "CassetteEntry",
    "Chat",
    "ChatMode",
    "ChatModel",
    "ChatRequest",
    "Connection",
    "Cost",
    "Endpoint",
    "Estimate",
    "Ledger",
    "Prices",
    "Reply",
    "ResponseCache",
    "Session",
    "address_faults",
    "are_too_many",
    "complete",
    "completion_body",
    "environment_faults",
    "estimate",
    "export_cassette",
    "import_cassette",
    "key_variable_faults",
    "merged",
    "opened_by",
    "read_cassette",
    "read_entries",
    "read_ledger",
    "read_reply",
    "separate",
    "unanswered",
    "user_says",
    "warnings",
    "write_cassette",
    "write_ledger",
]
