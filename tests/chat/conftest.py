import logging

import pytest


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "responses.sqlite"


class Waiting(logging.Handler):
    """Calls ``then`` when a call of `complete` begins to wait for another process."""

    def __init__(self, then):
        super().__init__(logging.INFO)
        self.then = then

    def emit(self, record):
        if "another process" in record.getMessage():
            self.then()


@pytest.fixture
def when_waiting():
    """Has something done as soon as a call waits for another process."""
    log = logging.getLogger("mini_lima.chat.live")
    handlers = []

    def attach(then):
        handlers.append(Waiting(then))
        log.addHandler(handlers[-1])
        log.setLevel(logging.INFO)

    yield attach
    for handler in handlers:
        log.removeHandler(handler)
    log.setLevel(logging.NOTSET)
