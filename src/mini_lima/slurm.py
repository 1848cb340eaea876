"""What Slurm says of jobs, and the records of cells whose jobs have died.

Slurm is asked by `squeue` alone: it answers on every cluster, where `sacct` needs an accounting
database. How a cell ended is in its record, which its job writes; a job that was killed, or never
began, writes none, and then it is written here.
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mini_lima.cell import RECORD
from mini_lima.errors import UserError
from mini_lima.files import read_json, write_json

logger = logging.getLogger(__name__)
ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "it ended without a word",
    "DEADLINE": "its deadline passed",
    "FAILED": "it was killed, or failed before the cell began",
    "NODE_FAIL": "its node was lost",
    "OUT_OF_MEMORY": "it ran out of memory, hydra.launcher.mem_gb",
    "PREEMPTED": "it had to make room for another",
    "TIMEOUT": "its time was up, hydra.launcher.timeout_min",
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
    """Wait for ``jobs``, the tasks of one array or a single job, and for what is done in each.

    Every change of state is logged. While Slurm gives no answer it waits on.

    Yields:
        Each job, as soon as it has ended, and how.
    """
    waiting, known, started = dict(jobs), dict.fromkeys(jobs, ""), time.monotonic()
    array = next(iter(jobs)).partition("_")[0]
    while waiting:
        states = _states(array)
        for job, name in list(waiting.items()) if states is not None else []:
            state = states.get(job, "")
            if state != known[job]:
                logger.info("%s: Slurm job %s is %s", name, job, state.lower() or "gone")
                known[job] = state
            if not state or state in ENDED:
                del waiting[job]
                yield job, ENDED.get(state, "it is gone")
        if waiting:
            time.sleep(min(1 + (time.monotonic() - started) / 20, LONGEST_PAUSE))


def _states(job: str) -> dict[str, str] | None:
    """The state of each task of ``job`` that Slurm still knows; None if it gives no answer."""
    squeue = ["squeue", "--array", "--noheader", "--states=all", f"--jobs={job}", "--format=%i %T"]
    asked = subprocess.run(squeue, capture_output=True, text=True, check=False)
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return None
    return dict(line.split() for line in asked.stdout.splitlines())


def expect(folder: Path, begun: dict[str, Any]) -> dict[str, Any]:
    """Make sure that a cell which waits for its job has a record, and return it."""
    if not (folder / RECORD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, begun)
    return _read(folder)


def ended(
    folder: Path, before: dict[str, Any], begun: dict[str, Any], *, reason: str, log: Path
) -> dict[str, Any]:
    """Return the record of a cell whose job has ended, completed if the job could not do that.

    Args:
        folder: The cell's.
        before: Its record when the job was submitted: that of an earlier run, as long as the job
            has not begun.
        begun: The record of a cell that has begun and not ended.
        reason: What became of the job.
        log: Where its output went, if it began.
    """
    record = _read(folder)
    if record == before:
        # An earlier run's stages are still those that the cell needs: without them they would
        # count as unused.
        record = {**begun, "stages": before.get("stages", {})}
    if record["status"] == "unfinished":
        record |= {"status": "killed", "reason": reason} | ({"log": str(log)} if log.exists() else {})
        write_json(folder / RECORD, record)
    return record


def _read(folder: Path) -> dict[str, Any]:
    folder.chmod(folder.stat().st_mode)  # has a network file system look again
    record: dict[str, Any] = read_json(folder / RECORD)
    return record
