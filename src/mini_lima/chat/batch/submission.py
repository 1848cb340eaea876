"""Requests put into batches that the endpoint takes: of one model, within OpenAI's limits."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mini_lima.chat.adaptation import adapted, changed
from mini_lima.chat.batch.batch_table import Batch, BatchBook, Line
from mini_lima.chat.batch.files import input_line
from mini_lima.chat.batch.state import RefusedError
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest

if TYPE_CHECKING:
    from mini_lima.chat.batch.service import BatchService

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000


def submitted(
    requests: Sequence[ChatRequest], *, endpoint: Endpoint, service: "BatchService", book: BatchBook
) -> Iterator[Batch]:
    """Submit ``requests``, whose claims are ours, and yield each batch as soon as it is there.

    Each step is written down before the next is done, so that a process which is killed between
    two of them leaves nothing that could be lost or sent again.

    Raises:
        UserError: the endpoint takes no batches, or not these.
        ConnectionError: it is out of reach.
    """
    lines = (_line(request, endpoint) for request in requests)
    for part in in_parts(lines, lambda line: len(_text(line))):
        batch = book.open(part)
        try:
            with tempfile.TemporaryFile() as file:
                file.writelines(_text(line) for line in part)
                input_file = service.upload(batch.tag, file)
            batch = book.uploaded(batch, input_file)
            batch = book.submitted(batch, service.submit(batch.tag, input_file))
        except RefusedError:
            book.forget(batch)
            raise
        yield batch


def in_parts(
    lines: Iterable[Line],
    size: Callable[[Line], int],
    *,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> Iterator[list[Line]]:
    """Divide ``lines`` into batches: of one model each, as OpenAI wants it, and within its limits.

    Args:
        lines: In the order in which they are to be.
        size: Gives the bytes that a line takes.
        most_requests: In one batch.
        most_bytes: In one batch; a line that is larger by itself stands alone, to be refused.
    """
    begun: dict[str, tuple[list[Line], int]] = {}
    for line in lines:
        model, more = line.request.model, size(line)
        part, used = begun.pop(model, ([], 0))
        if part and (len(part) == most_requests or used + more > most_bytes):
            yield part
            part, used = [], 0
        part.append(line)
        begun[model] = part, used + more
    for part, _ in begun.values():
        yield part


def sent_body(line: Line) -> dict[str, Any]:
    """The body of the request in ``line`` as its batch sends it."""
    return changed(line.request.body, line.made.get("adapted", {}))


def _line(request: ChatRequest, endpoint: Endpoint) -> Line:
    _, changes = adapted(request, endpoint)
    return Line(request, {"batch": True} | ({"adapted": changes} if changes else {}))


def _text(line: Line) -> bytes:
    return input_line(line.request, sent_body(line)).encode()
