"""Stages that need torch run in worker processes under torch's elastic launcher, even on one.

The process that holds the configuration never imports torch: no GPU memory stays behind between the
cells of a sweep, no rank runs Hydra again, and a crash takes nothing along. A worker gets its
keywords as one JSON file, prints its progress as lines, and leaves its error in a file.

    parent ── launcher (`main`: torch elastic) ── a worker per rank (`main`: runs MODULE)

A parent that is killed takes the others with it (on Linux), so that nobody goes on writing.
"""

import contextlib
import ctypes
import logging
import os
import runpy
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
SECONDS_TO_END = 10.0
CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
"""Signals that a worker does not die of because another one failed."""


class WorkerFailed(Exception):  # noqa: N818 - it reads as the sentence it stands for
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
        WorkerFailed: anything else that a worker died of; of several, the first.
    """
    with tempfile.TemporaryDirectory(prefix="mini-lima-") as folder:
        call, error = Path(folder, "call.json"), Path(folder, "error.json")
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in keywords.items()}
        write_json(call, {"keywords": plain, "error": str(error)})
        command = [sys.executable, "-m", "mini_lima.launch", module, str(call), str(processes)]
        shared_out = max(_cores() // processes, 1)
        variables = {
            # Threads that spin while they wait for each other made a training beside other jobs 8
            # times slower. Spinning briefly costs nothing there, and nothing on a free machine.
            "GOMP_SPINCOUNT": "1000",
            **os.environ,
            WORKER: "1",
            PARENT: str(os.getpid()),
            "OMP_NUM_THREADS": str(threads or shared_out),
            "PYTHONFAULTHANDLER": "1",  # a crash leaves its traceback in the stage's log
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **(environment or {}),
        }
        code, last_words = _run_and_listen(command, variables)
        if error.exists():
            said = read_json(error)
            message = said["message"] + (
                f": {last_words}" if said["crashed"] and last_words else ""
            )
            raise UserError(message) if said["user"] else WorkerFailed(message)
        if code:
            raise WorkerFailed(f"the launcher of {module} {_ending(code)}")


def _cores() -> int:
    """The cores that this process may use: fewer than the machine has in a job of a cluster."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _run_and_listen(command: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Return the exit code and, of a process that aborted, what its C++ runtime gave as reason."""
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
            for line in process.stdout:
                output.feed(line.rstrip("\n"))
                if line.startswith(("terminate called", "  what():")):
                    last_words = line.strip()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            process.kill()
            raise
        finally:
            output.close()
    return process.returncode, last_words


def work(function: Callable[..., None]) -> None:
    """Be a worker: read the call named on the command line, make it, and end the process."""
    hints = get_type_hints(function)
    keywords = read_json(Path(sys.argv[1]))["keywords"]
    function(**{k: Path(v) if hints.get(k) is Path else v for k, v in keywords.items()})
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written. Left to the interpreter, the libraries' threads and static destructors
    # race each other while it ends, and now and then one aborts a process that had succeeded.
    os._exit(0)


def main() -> None:
    """Be the launcher between the parent and the workers or, started by it, one of the workers."""
    _die_with_parent()
    os.environ[PARENT] = str(os.getpid())
    module, call, *processes = sys.argv[1:]
    error = Path(read_json(Path(call))["error"])
    try:
        if processes:
            _launch(module, call, processes[0], error)
        else:
            sys.argv = [module, call]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as failure:
        traceback.print_exc()
        first = (str(failure).strip() or repr(failure)).splitlines()[0]
        if isinstance(failure, UserError):
            _leave(error, str(failure), user=True)
        else:
            _leave(error, f"{type(failure).__name__}: {first}")
        sys.exit(1)


def _launch(module: str, call: str, processes: str, error: Path) -> None:
    from torch.distributed import run as elastic
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # By address: a machine need not be able to resolve its own name.
    arguments = ["--standalone", "--local-addr", "127.0.0.1", "--max-restarts", "0"]
    arguments += ["--nproc-per-node", processes, "--module", "mini_lima.launch", module, call]
    try:
        elastic.main(arguments)
    except ChildFailedError as failed:
        crashed = {r: each for r, each in failed.failures.items() if -each.exitcode in CRASHES}
        rank, first = next(iter(crashed.items()), failed.get_first_failure())
        # A rank that crashes leaves no error; that of a rank which waited for it is not the cause.
        ended = f"worker {rank} {_ending(first.exitcode)}"
        _leave(error, ended, crashed=first.exitcode < 0, instead=bool(crashed))
        sys.exit(1)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (as the kernel does when memory runs out)" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


def _leave(
    path: Path, message: str, *, user: bool = False, crashed: bool = False, instead: bool = False
) -> None:
    """Put an error where `run` finds it, whole; the first stays, unless this goes ``instead``."""
    own = path.with_name(f"{os.getpid()}.json")
    write_json(own, {"user": user, "crashed": crashed, "message": message})
    if instead:
        own.replace(path)
    else:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(own)


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; does nothing outside Linux.

    Whoever starts a process names itself in `PARENT`: before this function runs the interpreter has
    been starting for a while, and a parent that died meanwhile would go unnoticed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[PARENT]):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
