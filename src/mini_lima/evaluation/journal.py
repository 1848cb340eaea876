"""Answers on disk the moment they are complete, so that a killed attempt is gone on with.

One file per rank, a JSON line per answer, only ever appended to. What was written survives the
process at once; every few seconds it is also forced onto the disk, where it survives the machine. A
line that was torn, by a kill in the middle of it, is not an answer: its instruction is answered
again.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mini_lima.evaluation.decoding import Generation

SECONDS_BETWEEN_SYNCS = 5.0


def read(folder: Path) -> dict[int, Generation]:
    """Return all complete answers in ``folder``, by the number of their instruction."""
    lines = [line for file in folder.glob("answers-*.jsonl") for line in file.open("rb")]
    found = (_generation(line) for line in lines)
    return {each.number: each for each in found if each is not None}


@contextlib.contextmanager
def writing(folder: Path, rank: int) -> Iterator[Callable[[Generation], None]]:
    """Give a function that appends an answer to the file of ``rank``."""
    with (folder / f"answers-{rank}.jsonl").open("ab") as file:
        file.write(b"\n")  # ends a line that was torn
        synced = time.monotonic()

        def append(generation: Generation) -> None:
            nonlocal synced
            file.write(json.dumps(asdict(generation)).encode() + b"\n")
            file.flush()
            if time.monotonic() - synced > SECONDS_BETWEEN_SYNCS:
                os.fsync(file.fileno())
                synced = time.monotonic()

        yield append
        file.flush()
        os.fsync(file.fileno())


def _generation(line: bytes) -> Generation | None:
    try:
        row: Any = json.loads(line)
    except ValueError:
        return None
    return Generation(**row)
