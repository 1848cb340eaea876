"""Weights & Biases while training runs: the rows of its record, sent as they are written.

It is a view on the work and never a part of it. What it fails of is said in a line of the log, the
work goes on as if it were not there, and at the end nobody waits longer than `SECONDS_TO_END`:
`tracking` completes the same run from the finished stage in any case.
"""

import contextlib
import logging
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mini_lima.report.tracker import FINISHED
from mini_lima.report.tracking import METRICS
from mini_lima.report.wandb_process import COMMAND, Run, order

log = logging.getLogger(__name__)
SECONDS_TO_END = 5


@contextlib.contextmanager
def following(run: Run, config: Mapping[str, Any], folders: Sequence[Path]) -> Iterator[None]:
    """Show in ``run``, during the block, what a training writes.

    Args:
        run: The run; opened when the first row is there.
        config: The composed configuration.
        folders: Where the record of the training is or will be; the first that has one counts.
    """
    files = [str(folder / METRICS) for folder in folders]
    try:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it as the end of its stdin, in order
        )
    except OSError as error:
        log.warning("not live in Weights & Biases: %s", error)
        yield
        return
    listener = threading.Thread(target=_listen, args=[process], daemon=True)
    listener.start()
    _say(process, order(run, config, follow=files))
    try:
        yield
        _say(process, FINISHED)
    finally:
        _end(process)
        listener.join(SECONDS_TO_END)


def _say(process: "subprocess.Popen[bytes]", words: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended, and said why
        process.stdin.write(words)
        process.stdin.flush()


def _end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        log.info("Weights & Biases: not all rows were sent in time, the rest follows the result")
        process.kill()
        process.wait()


def _listen(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        log.info("Weights & Biases: %s", line.decode(errors="replace").rstrip())
