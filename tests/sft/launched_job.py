"""A training in processes of its own to which something happens; for test_launched.py.

    python launched_job.py WHAT '{"output_dir": DIR, …}'

Here is the parent, above the launcher and the workers. After the third step it asks itself to stop
(``stop``) or kills the worker of rank 1 (``kill``).
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path

from mini_lima import sft
from mini_lima.progress import MARKER, WorkerOutput
from mini_lima.workers.launch import WorkerKilled

STEPS = 3


def worker(rank: int) -> int:
    """The pid of a worker, which is a child of our only child."""
    [launcher] = children(os.getpid())
    for pid in children(launcher):
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return pid
    raise AssertionError(f"no worker of rank {rank}")


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Listening(WorkerOutput):
    seen = 0

    def feed(self, line: str) -> None:
        if line.startswith(MARKER):
            Listening.seen += json.loads(line.removeprefix(MARKER))["steps"]
            if Listening.seen == STEPS:
                Listening.seen += 1
                if sys.argv[1] == "stop":
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    os.kill(worker(1), signal.SIGKILL)
        super().feed(line)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    sft.launch.WorkerOutput = Listening
    given = json.loads(sys.argv[2])
    for key in ("output_dir", "work_dir", "data"):
        given[key] = Path(given[key])
    try:
        sft.train(**given)
    except WorkerKilled as killed:
        print(killed)
