"""The far side of `launch`: the launcher on each node, and the workers that it starts.

Both are this module. With a number of processes as third argument it is the launcher, torch's
elastic one in the same process; without, one of the workers. Whatever ends them is left in the file
that the call names: the first error, since those of the other ranks follow from it.
"""

import contextlib
import ctypes
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from mini_lima.errors import Stopped, UserError
from mini_lima.files import read_json, write_json

PR_SET_PDEATHSIG = 1
PARENT = "MINI_LIMA_PARENT"
SECONDS_TO_SAVE = 3600
"""How long workers may take over what SIGTERM makes them save, before torch kills them."""
CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
"""Signals that a worker does not die of because another one failed."""

OF_LAUNCHERS = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "ROLE_NAME"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "LOCAL_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "NPROC", "FORK_LAUNCHED"),
)
BEGINNINGS = (
    *("PET_", "TORCHELASTIC_", "TORCH_ELASTIC_", "ACCELERATE_", "DS_", "DEEPSPEED_", "FSDP_"),
    *("PARALLELISM_CONFIG_", "MEGATRON_LM_", "OMPI_COMM_", "PMI_", "SMDATAPARALLEL_", "SM_"),
)
"""Variables by which other launchers of torch tell processes what to do, and their beginnings."""

KINDS = {int(signal.SIGKILL): "killed", int(signal.SIGTERM): "stopped"}
"""What `run` makes of a worker that such a signal ended; a cluster sends SIGTERM to all of us."""


def work(function: Callable[..., None]) -> None:
    """Be a worker: read the call named on the command line, make it, and end the process."""
    hints = get_type_hints(function)
    keywords = read_json(Path(sys.argv[1]))["keywords"]
    function(**{k: Path(v) if hints.get(k) is Path else v for k, v in keywords.items()})
    _leave_at_once()


def main() -> None:
    """Be the launcher between the parent and the workers or, started by it, one of the workers."""
    _die_with_parent()
    os.environ[PARENT] = str(os.getpid())
    module, call_file, *processes = sys.argv[1:]
    call = read_json(Path(call_file))
    error = Path(call["error"])
    try:
        if processes:
            _launch(module, call_file, processes[0], call)
        else:
            sys.argv = [module, call_file]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Stopped as stopped:
        _leave_word(error, "stopped", str(stopped))
        _leave_at_once()
    except UserError as failure:
        traceback.print_exc()
        # What other ranks fail of is its consequence, even if they happen to end before.
        _leave_word(error, "user", str(failure), instead=True)
        sys.exit(1)
    except Exception as failure:
        traceback.print_exc()
        first = (str(failure).strip() or repr(failure)).splitlines()[0]
        _leave_word(error, "failed", f"{type(failure).__name__}: {first}")
        sys.exit(1)


def ending(code: int) -> str:
    """Say how a process ended, by what `subprocess` calls its return code."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (as the kernel does when memory runs out)" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


def _launch(module: str, call_file: str, processes: str, call: dict[str, Any]) -> None:
    for name in list(os.environ):
        if name in OF_LAUNCHERS or name.startswith(BEGINNINGS):
            del os.environ[name]  # of a launcher around us, or left over: it is not about our work
    os.environ.update(call["environment"])
    from torch.distributed import run as elastic
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = [*_meeting(call), "--max-restarts", "0", "--nproc-per-node", processes]
    arguments += ["--shutdown-timeout", str(SECONDS_TO_SAVE)]
    arguments += ["--log-dir", str(Path(call["error"]).with_name("logs"))]  # its own stays in /tmp
    arguments += ["--module", "mini_lima.workers.worker", module, call_file]
    try:
        elastic.main(arguments)
    except SignalException:
        sys.exit(1)  # `run` knows of it; the workers have been given their time
    except ChildFailedError as failed:
        crashed = {r: each for r, each in failed.failures.items() if -each.exitcode in CRASHES}
        rank, first = next(iter(crashed.items()), failed.get_first_failure())
        # A rank that crashes leaves no error; that of a rank which waited for it is not the cause.
        kind = KINDS.get(-first.exitcode, "crashed" if first.exitcode < 0 else "failed")
        told = f"worker {rank} {ending(first.exitcode)}"
        _leave_word(Path(call["error"]), kind, told, instead=bool(crashed))
        sys.exit(1)


def _meeting(call: dict[str, Any]) -> list[str]:
    """Torch's arguments for where the launchers of all nodes find each other.

    By address, here and there: a machine need not be able to resolve its own name.
    """
    if call["nodes"] == 1:
        return ["--standalone", "--local-addr", "127.0.0.1"]
    host, _, port = call["rendezvous"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards_the_first:
        towards_the_first.connect((host, int(port)))  # sends nothing
        own = towards_the_first.getsockname()[0]
    there = ["--rdzv-backend", "c10d", "--rdzv-endpoint", call["rendezvous"]]
    one_run = Path(call["error"]).parent.name
    return ["--nnodes", str(call["nodes"]), *there, "--rdzv-id", one_run, "--local-addr", own]


def _leave_word(path: Path, kind: str, message: str, *, instead: bool = False) -> None:
    """Put an error where `run` finds it, whole; the first stays, unless this goes ``instead``."""
    own = path.with_name(f"{socket.gethostname()}-{os.getpid()}.json")
    write_json(own, {"kind": kind, "message": message})
    if instead:
        own.replace(path)
    else:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(own)


def _leave_at_once() -> None:
    """End a process whose work is written.

    Left to the interpreter, the libraries' threads and static destructors race each other while it
    ends, and now and then one aborts a process that had succeeded.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; does nothing outside Linux.

    Whoever starts a process names itself in `PARENT`: before this function runs the interpreter has
    been starting for a while, and a parent that died meanwhile would go unnoticed. Without that
    name it was started by another program, on another node, and that looks after it.
    """
    if sys.platform == "linux" and PARENT in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[PARENT]):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
