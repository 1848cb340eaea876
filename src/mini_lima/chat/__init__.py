"""Chat completions asked once, kept for ever: the one door to any OpenAI-compatible endpoint.

Teacher and annotator both go through `complete`, whether the answers come from a live endpoint or
from a cassette of recorded ones. Importing this package costs little: asyncio, openai and its
transport are loaded when the first request has to be sent.
"""

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
from mini_lima.chat.requests import ChatModel, ChatRequest, Reply

__all__ = [
    "CassetteEntry",
    "ChatModel",
    "ChatRequest",
    "Endpoint",
    "Reply",
    "ResponseCache",
    "complete",
    "completion_body",
    "read_cassette",
    "read_entries",
    "write_cassette",
]
