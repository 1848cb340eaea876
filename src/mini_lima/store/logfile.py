"""What a piece of work had to say, in a file of its own."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Add what is logged during the block to ``path``, and there alone the traceback that ends it.

    The file takes every level that the loggers let through. Theirs are left as they are: turned up
    for all, libraries write requests and their headers into logs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8")
    file.setLevel(logging.DEBUG)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(file)
    try:
        yield
    except BaseException as error:
        failure = (type(error), error, error.__traceback__)
        message = "ended by an exception"
        file.handle(root.makeRecord(__name__, logging.ERROR, __file__, 0, message, (), failure))
        raise
    finally:
        root.removeHandler(file)
        with contextlib.suppress(OSError):
            file.close()


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say nothing: a disk too full for the log ends the work too, and that is told once."""
