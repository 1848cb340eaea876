"""Stages that need torch run in worker processes under torch's elastic launcher, even on one device.

The process that holds the configuration never imports torch: no GPU memory stays behind between the
cells of a sweep, no rank runs Hydra again, and a crash takes nothing along. A worker gets its
keywords as one JSON file, prints its progress as lines, and leaves its error in a file.

    parent ── python -m mini_lima.launch MODULE CALL.json ── torch elastic ── MODULE on every rank

A parent that is killed takes its workers with it (on Linux), so that nobody goes on writing.
"""

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from mini_lima.errors import UserError
from mini_lima.files import read_json, write_json
from mini_lima.progress import WORKER, WorkerOutput

log = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1
PARENT = "MINI_LIMA_PARENT"


class WorkerFailed(Exception):
    """A worker process ended with an error; its own output is in the stage's log."""


def run(
    module: str,
    *,
    processes: int,
    threads: int | None,
    environment: dict[str, str] | None = None,
    **keywords: Any,
) -> None:
    """Call the stage function of ``module`` with ``keywords`` in ``processes`` worker processes.

    Args:
        module: Dotted name; run as a program, it calls `work` with its stage function.
        processes: Ranks on this machine.
        threads: CPU threads per rank; None shares the cores out.
        environment: Variables added for the workers.
        **keywords: JSON types and Paths, passed on.

    Raises:
        UserError: raised by a worker.
        WorkerFailed: anything else that a worker died of.
    """
    with tempfile.TemporaryDirectory(prefix="mini-lima-") as folder:
        call, error = Path(folder, "call.json"), Path(folder, "error.json")
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in keywords.items()}
        write_json(call, {"keywords": plain, "error": str(error)})
        command = [sys.executable, "-m", "mini_lima.launch", module, str(call), str(processes)]
        shared_out = max((os.cpu_count() or 1) // processes, 1)
        variables = {
            **os.environ,
            WORKER: "1",
            PARENT: str(os.getpid()),
            "OMP_NUM_THREADS": str(threads or shared_out),
            "TOKENIZERS_PARALLELISM": "false",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **(environment or {}),
        }
        code = _run_and_listen(command, variables)
        if error.exists():
            said = read_json(error)
            raise UserError(said["message"]) if said["user"] else WorkerFailed(said["message"])
        if code:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise WorkerFailed(f"{module} ended with {how} and left no error")


def _run_and_listen(command: list[str], variables: dict[str, str]) -> int:
    log.setLevel(logging.DEBUG)
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
            for line in process.stdout:
                output.feed(line.rstrip("\n"))
        except BaseException:
            process.terminate()
            raise
        finally:
            output.close()
    return process.returncode


def work(function: Callable[..., None]) -> None:
    """Be a worker: read the call named on the command line and make it."""
    die_with_parent()
    call = read_json(Path(sys.argv[1]))
    hints = get_type_hints(function)
    keywords = {k: Path(v) if hints.get(k) is Path else v for k, v in call["keywords"].items()}
    try:
        function(**keywords)
    except Exception as error:
        traceback.print_exc()
        user = isinstance(error, UserError)
        first = (str(error).strip() or repr(error)).splitlines()[0]
        message = str(error) if user else f"{type(error).__name__}: {first}"
        try:
            with open(call["error"], "x", encoding="utf-8") as file:
                json.dump({"user": user, "message": message}, file)
        except FileExistsError:
            pass  # another rank failed first; its error is the cause
        sys.exit(1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; does nothing outside Linux.

    Whoever starts a process names itself in `PARENT`: before this function runs the interpreter has
    been starting for a while, and a parent that died meanwhile would go unnoticed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[PARENT]):
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Be the launcher between the parent and the workers."""
    die_with_parent()
    from torch.distributed import run as elastic
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ[PARENT] = str(os.getpid())
    module, call, processes = sys.argv[1:]
    arguments = ["--standalone", "--nproc-per-node", processes, "--max-restarts", "0"]
    try:
        elastic.main([*arguments, "--module", module, call])
    except ChildFailedError:
        sys.exit(1)


if __name__ == "__main__":
    main()
