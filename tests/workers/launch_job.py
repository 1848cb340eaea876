"""What the workers of test_launch.py do: the name of a function below, given as ``doing``."""

import atexit
import os
import signal
import sys
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.files import write_json
from mini_lima.workers import launch
from mini_lima.workers.progress import progress

RANK = int(os.environ.get("RANK", "0"))


def note_what_it_was_given(output_dir: Path) -> None:
    write_json(output_dir / f"{RANK}.json", dict(os.environ))


def show_progress(output_dir: Path) -> None:
    print("hello from a worker")
    print("a bar of a library", end="\r", file=sys.stderr)
    print("a line without an end", end="", flush=True)
    with progress("counting", total=3) as bar:
        for loss in (3.0, 2.0, 1.0):
            bar.advance(1, loss=loss)


def refuse_the_data(output_dir: Path) -> None:
    raise UserError("examples.jsonl, line 3: no output\n  add one")


def be_killed(output_dir: Path) -> None:
    """Rank 1 is killed; rank 0 waits for it, and fails because it is gone."""
    pipe = output_dir / "pipe"
    if RANK == 1:
        with pipe.open("w"):
            os.kill(os.getpid(), signal.SIGKILL)
    with pipe.open() as other:
        other.read()
    raise ConnectionError("closed by peer")


def abort(output_dir: Path) -> None:
    print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr)
    print("  what():  std::bad_alloc", file=sys.stderr, flush=True)
    os.abort()


def abort_while_the_process_ends(output_dir: Path) -> None:
    """As libraries do whose threads and destructors race; the work is done by then."""
    atexit.register(os.abort)
    print("what was printed last", end="")


def fail_while_the_other_waits(output_dir: Path) -> None:
    if RANK == 1:
        raise ZeroDivisionError("only rank 1\nthe second line")
    signal.pause()


def hold(output_dir: Path) -> None:
    sys.stdout.write(f"holding {os.getpid()} {os.getppid()}\n")  # in one piece, unlike print
    sys.stdout.flush()
    signal.pause()


def job(output_dir: Path, *, doing: str) -> None:
    globals()[doing](output_dir)


if __name__ == "__main__":
    launch.work(job)
