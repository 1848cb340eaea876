"""SIGTERM as a request: by it clusters and people ask a process to come to an end by itself.

Who has work to save notes it and stops at the next good moment; who started other processes passes
it on to them and waits for theirs.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Request:
    """Whether the process was asked to stop."""

    asked = False


@contextmanager
def stop_request(pass_on: Callable[[], None] = lambda: None) -> Iterator[Request]:
    """Take SIGTERM, during the block, as a request; ``pass_on`` is called each time it comes.

    Outside the main thread Python gives signals to nobody: the process then ends as it always did.
    """
    request = Request()

    def note(*_: Any) -> None:
        request.asked = True
        pass_on()

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
