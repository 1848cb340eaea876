"""Progress of long work: one interface for the process in front of the person and for its workers.

The process that owns the terminal draws a bar with an ETA (plain log lines when the output is
piped). A worker process, started by `launch`, owns no terminal: it prints marker lines, which its
parent reads and draws with the same code.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from mini_lima.text import as_line

WORKER = "MINI_LIMA_WORKER"
MARKER = "@progress "
SECONDS_BETWEEN_LINES = 15.0

log = logging.getLogger(__name__)


class Bar(Protocol):
    """What a stage sees of its progress display."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Count ``steps`` as done; ``figures`` (loss, learning rate …) are shown beside the bar."""


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Bar]:
    """Show ``label`` with ``total`` steps, of which ``done`` are done, until the block ends."""
    if os.environ.get(WORKER):
        lines = _MarkerLines(label, total, done)
        lines.advance(0)  # the clock by which the rest is estimated starts now
        yield lines
    elif sys.stderr.isatty():
        with _terminal_bar(label, total, done) as bar:
            yield bar
    else:
        yield _LogLines(label, total, done)


def warn(text: str) -> None:
    """Say ``text`` in the log that a person reads, from a worker too: there, of the first alone."""
    if not os.environ.get(WORKER):
        log.warning("%s", text)
    elif os.environ.get("RANK", "0") == "0":
        sys.stdout.write(f"{MARKER}{json.dumps({'warning': text})}\n")
        sys.stdout.flush()


class _MarkerLines:
    def __init__(self, label: str, total: int, done: int) -> None:
        self.same = {"label": label, "total": total, "done": done}

    def advance(self, steps: int = 1, **figures: float) -> None:
        message = json.dumps({**self.same, "steps": steps, "figures": figures})
        sys.stdout.write(f"{MARKER}{message}\n")  # in one piece, unlike print: ranks share the pipe
        sys.stdout.flush()


class _LogLines:
    def __init__(self, label: str, total: int, done: int) -> None:
        self.label, self.total, self.done, self.before = label, total, done, done
        self.started = self.spoke = time.monotonic()

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.done += steps
        now = time.monotonic()
        soon = self.done < self.total and now - self.spoke < SECONDS_BETWEEN_LINES
        if soon or self.done == self.before:
            return
        self.spoke = now
        each = (now - self.started) / (self.done - self.before)
        left = each * max(self.total - self.done, 0)
        eta = f", {left:.0f} s left" if left else ""
        log.info("%s: %d of %d%s%s", self.label, self.done, self.total, eta, _shown(figures))


@contextmanager
def _terminal_bar(label: str, total: int, done: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(as_line(label), total=total, completed=done, figures="")

        class _TerminalBar:
            def advance(self, steps: int = 1, **figures: float) -> None:
                display.update(task, advance=steps, figures=_shown(figures).lstrip(", "))

        yield _TerminalBar()


def _shown(figures: dict[str, float]) -> str:
    return "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())


class WorkerOutput:
    """Sorts a worker's output into progress, drawn here, and text, kept in the stage's log."""

    def __init__(self, worker_log: logging.Logger) -> None:
        self._log = worker_log
        self._open: dict[str, Any] = {}

    def feed(self, line: str) -> None:
        """Take one line of output without its newline.

        A marker may stand behind text that another process or library left without a newline.
        """
        text, marker, rest = line.partition(MARKER)
        message = _read(rest) if marker else None
        if message is None:
            self._log.debug("%s", line)
            return
        if text:
            self._log.debug("%s", text)
        if "warning" in message:
            self._log.warning("%s", message["warning"])
            return
        label = message["label"]
        if label not in self._open:
            self.close()
            context = progress(label, message["total"], message["done"])
            self._open[label] = (context, context.__enter__())
        self._open[label][1].advance(message["steps"], **message["figures"])

    def close(self) -> None:
        """End the display of whatever is still shown."""
        for context, _ in self._open.values():
            context.__exit__(None, None, None)
        self._open.clear()


def _read(text: str) -> dict[str, Any] | None:
    """The message of a marker line; None if it is text that merely looks like one."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    known = ({"label", "total", "done", "steps", "figures"}, {"warning"})
    return message if isinstance(message, dict) and set(message) in known else None
