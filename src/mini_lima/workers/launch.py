"""Stages that need torch run in worker processes under torch's elastic launcher, even on one.

The process that holds the configuration never imports torch: no GPU memory stays behind between the
cells of a sweep, no rank runs Hydra again, and a crash takes nothing along. A worker gets its
keywords as one JSON file, prints its progress as lines, and leaves its error in a file. There is
one worker per device.

    parent ── launcher per node (`mini_lima.workers.worker`: torch elastic) ── a worker per rank

A parent that is killed takes the others with it (on Linux), so that nobody goes on writing. One
that SIGTERM asks to stop passes that on and waits for what its workers save.
"""

import contextlib
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mini_lima.errors import Stopped, UserError
from mini_lima.files import read_json, write_json
from mini_lima.workers.progress import WORKER, WorkerOutput
from mini_lima.workers.stopping import stop_request
from mini_lima.workers.worker import PARENT, ending, work

__all__ = ["Nodes", "WorkerFailed", "WorkerKilled", "cuda_devices", "process_count", "run", "work"]

log = logging.getLogger(__name__)
SECONDS_TO_END = 10.0

LIBRARIES = {
    # Threads that spin while they wait for each other made a training beside other jobs 8 times
    # slower. Spinning briefly costs nothing there, and nothing on a free machine.
    "GOMP_SPINCOUNT": "1000",
    # oneDNN, and torch around it, compile a kernel for every shape of a matrix in bf16, and keep
    # 1,024 of them. No two steps have as many tokens, so a training grew by 35 MB a step. All
    # layers are of the same shapes, and the backward pass of one needs about ten.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
    "LRU_CACHE_CAPACITY": "32",
}
"""Variables for the libraries of the workers; whoever has set one keeps it."""

AUTO = "auto"


class WorkerFailed(Exception):  # noqa: N818 - it reads as the sentence it stands for
    """A worker process ended with an error; its own output is in the stage's log."""


class WorkerKilled(WorkerFailed):
    """A worker was ended by SIGKILL, which nobody here sends: mostly the kernel, out of memory."""


@dataclass(frozen=True)
class Nodes:
    """The machines that work together; the default is this one alone.

    Attributes:
        count: How many; the parent runs on the first.
        rendezvous: ``host:port`` of the first, as the others reach it.
        starter: Command that starts what follows it once on each of them, such as ``srun``. None
            starts it here, and says what to run on the others.
        folder: Where all of them can read and write files: a stage's ``work_dir``, which is cleared
            even of what a killed parent leaves there. None is the machine's temporary folder.
    """

    count: int = 1
    rendezvous: str | None = None
    starter: str | None = None
    folder: Path | None = None


def run(
    module: str,
    *,
    processes: int,
    threads: int | None,
    nodes: Nodes = Nodes(),
    environment: dict[str, str] | None = None,
    **keywords: Any,
) -> None:
    """Call the stage function of ``module`` with ``keywords`` in ``processes`` worker processes.

    Args:
        module: Dotted name; run as a program, it calls `work` with its stage function.
        processes: Ranks on each node.
        threads: CPU threads per rank; None shares the cores out.
        nodes: The machines.
        environment: Variables added for the workers.
        **keywords: JSON types and Paths, passed on.

    Raises:
        UserError: raised by a worker.
        WorkerFailed: anything else that a worker died of; of several, the first.
        Stopped: SIGTERM asked for it.
    """
    with tempfile.TemporaryDirectory(prefix="mini-lima-", dir=nodes.folder) as folder:
        call, error = Path(folder, "call.json"), Path(folder, "error.json")
        variables = {
            **{name: os.environ.get(name, value) for name, value in LIBRARIES.items()},
            "OMP_NUM_THREADS": str(threads or max(_cores() // processes, 1)),
            "PYTHONFAULTHANDLER": "1",  # a crash leaves its traceback in the stage's log
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            WORKER: "1",
            **(environment or {}),
        }
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in keywords.items()}
        document = {"keywords": plain, "error": str(error), "environment": variables}
        write_json(call, document | {"nodes": nodes.count, "rendezvous": nodes.rendezvous})
        command = [
            sys.executable,
            "-m",
            "mini_lima.workers.worker",
            module,
            str(call),
            str(processes),
        ]
        if nodes.starter:
            command = [*shlex.split(nodes.starter), *command]
        elif nodes.count > 1:
            log.info("waiting for %d more: run on each %s", nodes.count - 1, shlex.join(command))
        own = {} if nodes.starter else {PARENT: str(os.getpid())}
        code, last_words, stop_asked = _run_and_listen(command, {**os.environ, **own})
        said: dict[str, str] = read_json(error) if error.exists() else {}
        kind, message = said.get("kind"), said.get("message", "")
        if kind == "user":
            raise UserError(message)
        if kind == "stopped" or (stop_asked and kind is None):
            raise _stopped(message or "stopped by SIGTERM")
        if kind == "killed":
            raise WorkerKilled(message)
        if kind:
            added = f": {last_words}" if kind == "crashed" and last_words else ""
            raise WorkerFailed(message + added)
        if code:
            raise WorkerFailed(f"the launcher of {module} {ending(code)}")


def _stopped(message: str) -> Stopped:
    told = f"{message}; run the same command again to go on"
    log.warning("%s", told)  # a SystemExit ends the process without a word
    return Stopped(told)


def _cores() -> int:
    """The cores that this process may use: fewer than the machine has in a job of a cluster."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _run_and_listen(command: list[str], variables: dict[str, str]) -> tuple[int, str, bool]:
    """Run ``command`` to its end, its output to the log.

    Returns:
        The exit code; of a process that aborted, what its C++ runtime gave as reason; and whether
        SIGTERM came meanwhile.
    """
    log.setLevel(logging.DEBUG)
    last_words = ""
    output = WorkerOutput(log)
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            with stop_request(process.terminate) as stop:
                for line in process.stdout:
                    output.feed(line.rstrip("\n"))
                    if line.startswith(("terminate called", "  what():")):
                        last_words = line.strip()
                process.wait()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            process.kill()
            raise
        finally:
            output.close()
    return process.returncode, last_words, stop.asked


def process_count(processes: int | str, device: str) -> int:
    """Return the number that ``processes`` stands for on this machine.

    Args:
        processes: A number, or ``auto``: one for each visible GPU, on a CPU one.
        device: ``cuda`` or ``cpu``.

    Raises:
        UserError: ``auto`` without any GPU.
    """
    if processes != AUTO:
        return int(processes)
    if device != "cuda":
        return 1
    if not cuda_devices():
        raise UserError("launch.processes=auto: torch finds no CUDA GPU on this machine")
    return cuda_devices()


@cache
def cuda_devices() -> int:
    """Return how many GPUs torch finds; CUDA_VISIBLE_DEVICES hides some from it."""
    # In a process of its own: this one must not hold GPU memory, nor pay for importing torch.
    program = "import torch; print(torch.cuda.device_count())"
    asked = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return int(asked.stdout.split()[-1]) if asked.returncode == 0 else 0
