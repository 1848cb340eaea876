"""What Slurm says of jobs.

It is asked by `squeue` alone, which answers on every cluster, where `sacct` needs an accounting
database. What a job did is not asked here: that is in the record of its cell.
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping

from mini_lima.errors import UserError

logger = logging.getLogger(__name__)
ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "it ended without a word",
    "DEADLINE": "its deadline passed",
    "FAILED": "it was killed, or failed before the cell began",
    "GONE": "Slurm does not know it any more: was it cancelled before it began?",
    "NODE_FAIL": "its node was lost",
    "OUT_OF_MEMORY": "it ran out of memory (hydra.launcher.mem_gb)",
    "PREEMPTED": "it had to make room for another",
    "TIMEOUT": "its time was up (hydra.launcher.timeout_min)",
}
"""The states that a job does not leave again, in words."""
LONGEST_PAUSE = 15.0


def require() -> None:
    """Raise UserError on a machine from which nothing can be submitted."""
    missing = [command for command in ("sbatch", "srun", "squeue") if not shutil.which(command)]
    if missing:
        raise UserError(
            f"hydra/launcher=slurm: there is no {', '.join(missing)} on PATH: submit from a machine"
            " of the cluster, or leave hydra/launcher=slurm away to run the cells here"
        )


def endings(jobs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Wait for ``jobs``, the tasks of one array or a single job, given with a name for each.

    Every change of state is logged. While Slurm gives no answer it waits on.

    Yields:
        Each job, as soon as it has ended, and how.
    """
    waiting, known, started = dict(jobs), dict.fromkeys(jobs, ""), time.monotonic()
    array = next(iter(jobs)).partition("_")[0]
    while waiting:
        answer = _states(array)
        states = known if answer is None else answer
        for job, name in list(waiting.items()):
            state = states.get(job, "GONE")
            if state != known[job]:
                logger.info("%s: Slurm job %s is %s", name, job, state.lower())
                known[job] = state
            if state in ENDED:
                del waiting[job]
                yield job, ENDED[state]
        if waiting:
            time.sleep(min(1 + (time.monotonic() - started) / 20, LONGEST_PAUSE))


def _states(job: str) -> dict[str, str] | None:
    """The state of each task of ``job`` that Slurm still knows; None if it gives no answer."""
    squeue = ["squeue", "--array", "--noheader", "--states=all", f"--jobs={job}", "--format=%i %T"]
    asked = subprocess.run(squeue, capture_output=True, text=True, check=False)
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return None
    return dict(line.split() for line in asked.stdout.splitlines())
