"""What the process that talks to Weights & Biases is sent to do, and how long it may take.

A server that dies or hangs must cost neither a result nor more than half a minute, so every errand
has an end. An upload is as long as its files are large: it may go on for as long as it moves, and
is given up when it has not moved for the time that any other errand has in all.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mini_lima.redact import without_secrets

COMMAND = (sys.executable, "-m", "mini_lima.report.tracker")
SECONDS = 24
"""With what ending a live run may take, less than half a minute."""
SECONDS_BETWEEN_LOOKS = 2
MOVES = 1_000_000
"""Bytes read or written since it was last said to move; messages without content are far less."""


@dataclass(frozen=True)
class Run:
    """A run as W&B knows it.

    Attributes:
        id: The same for the same content: what is tracked again goes on in the same run.
        mode: ``online``, or ``offline`` for a later ``wandb sync``.
        project: W&B project.
        entity: W&B user or team; None is the user's default.
        group: The sweep.
        name: For people.
        job_type: ``cell``, or ``comparison`` for what the cells of a sweep say together.
    """

    id: str
    mode: Literal["online", "offline"]
    project: str
    entity: str | None
    group: str
    name: str
    job_type: Literal["cell", "comparison"] = "cell"


class NotTracked(Exception):  # noqa: N818 - it reads as the sentence it stands for
    """It is not in Weights & Biases; the result is where it was."""


def order(run: Run, config: Mapping[str, Any], **what: Any) -> bytes:
    """Return the line that tells the tracker to do ``what`` with ``run``."""
    about = without_secrets({"run": asdict(run), "config": config}, os.environ)
    return json.dumps(about | what).encode() + b"\n"


def send(call: bytes, *, seconds: float | None, while_it_moves: bool = False) -> str:
    """Have the tracker do what ``call`` says; return what it said.

    Args:
        call: A line of JSON, see `order`.
        seconds: After which it is ended; None where no network is involved.
        while_it_moves: The time begins anew whenever it has read or written `MOVES`.

    Raises:
        NotTracked: W&B refused, or did not take it in time.
    """
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            said = _until_done(process, call, seconds, while_it_moves)
        except BaseException:
            process.kill()  # and the library's service, which it has started, ends by itself
            raise
    if process.returncode:
        lines = said.splitlines()
        raise NotTracked(lines[-1] if lines else f"its tracker ended with {process.returncode}")
    return said


def _until_done(
    process: "subprocess.Popen[bytes]", call: bytes, seconds: float | None, while_it_moves: bool
) -> str:
    began, moved = time.monotonic(), 0
    while True:
        left = None if seconds is None else began + seconds - time.monotonic()
        if left is not None and left <= 0:
            raise NotTracked(f"Weights & Biases took more than {seconds} s")
        try:
            wait = None if left is None else min(left, SECONDS_BETWEEN_LOOKS)
            said, _ = process.communicate(call, timeout=wait)
            return said.decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            call = b""  # it has been taken
            if while_it_moves and (now := _bytes_moved(process.pid)) > moved + MOVES:
                began, moved = time.monotonic(), now


def _bytes_moved(pid: int) -> int:
    """What a process and those it has started have read and written, sockets included (Linux)."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if str(pid) in (process.name, parent):
                lines = (process / "io").read_text().splitlines()
                figures = dict(line.split(": ") for line in lines)
                total += int(figures["rchar"]) + int(figures["wchar"])
    return total
