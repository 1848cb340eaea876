"""A training in processes of its own that is asked to stop after three steps; for test_launched.py.

    python launched_job.py '{"output_dir": DIR, …}'

Here is the parent, above the launcher and the worker.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path

from mini_lima import sft
from mini_lima.workers.progress import MARKER, WorkerOutput

STEPS = 3


class Listening(WorkerOutput):
    seen = 0

    def feed(self, line: str) -> None:
        if line.startswith(MARKER):
            Listening.seen += json.loads(line.removeprefix(MARKER))["steps"]
            if Listening.seen == STEPS:
                Listening.seen += 1
                os.kill(os.getpid(), signal.SIGTERM)
        super().feed(line)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    sft.launch.WorkerOutput = Listening
    given = json.loads(sys.argv[1])
    for key in ("output_dir", "work_dir", "data"):
        given[key] = Path(given[key])
    sft.train(**given)
