"""The teacher as the data methods see it: prompts in, replies out, in the order of the prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mini_lima.chat import ChatModel, Endpoint, Reply, complete


@dataclass(frozen=True)
class Teacher:
    """A chat model, the endpoint that serves it, and the cache that keeps its answers."""

    model: ChatModel
    endpoint: Endpoint
    cache: Path

    def ask(self, prompts: Sequence[str], *, label: str, sample: int = 0) -> list[Reply]:
        """Send each prompt as the only user message of a conversation of its own.

        Args:
            prompts: What to send.
            label: Names this work in the progress display.
            sample: Asks anew what was asked with a lower one, instead of repeating its answer.
        """
        requests = [self.model.request([("user", each)], sample=sample) for each in prompts]
        return complete(requests, endpoint=self.endpoint, cache=self.cache, label=label)
