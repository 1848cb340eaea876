"""What the tests ask, and whom."""

from dataclasses import replace

from mini_lima.chat import ChatModel, ChatRequest, Endpoint
from tests.chat.server import FakeOpenAI

MODEL = ChatModel("gpt-x", temperature=0.7, max_tokens=64)


def questions(*texts: str, model: ChatModel = MODEL) -> list[ChatRequest]:
    return [model.request([("user", text)]) for text in texts]


def endpoint_of(server: FakeOpenAI, **changes) -> Endpoint:
    """``server``, asked without retries and, if a test wants them, with pauses of milliseconds."""
    quick = Endpoint(
        "fake", server.base_url, concurrency=4, max_retries=0, backoff=0.001, most_failed=0
    )
    return replace(quick, **changes)
