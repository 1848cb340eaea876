"""The program that talks to Weights & Biases, with `run_log` and `workspace`, which know wandb.

It is a process of its own. A server that dies or hangs holds up whoever has called the library, at
the latest when the interpreter ends: here that is nobody who matters, and `errand` and `live` put
an end to it when its time is over.

One line of JSON on stdin says what to do:

    complete   all that is known of a finished cell or sweep, then the end
    follow     the rows of a training that goes on, until stdin has a word or closes
    dashboard  the workspace of a project

It answers in lines on stdout, the last of which is the reason when the exit code is 1.
"""

import json
import os
import select
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mini_lima.report.run_log import complete, log_rows, open_run, rows_of

FINISHED = b"finished\n"
"""The word that ends following when all went well; the mere end of stdin says that it did not."""
SECONDS_TO_LEAVE = 4
"""To upload what is left when following ends: what is missing then is added by ``complete``."""
SECONDS_BETWEEN_LOOKS = 1.0

Say = Callable[[str], None]


def main() -> None:
    """Do what stdin says; after a failure leave without the library's farewell, which may hang."""
    say = _own_voice()
    stdin = open(0, "rb", buffering=0)  # noqa: SIM115 - what is read ahead would escape select
    call = json.loads(stdin.readline())
    # The library reports on itself, of offline runs too: where nothing answers, they wait for it.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        if "complete" in call:
            complete(call["run"], call["config"], **call["complete"])
        elif "dashboard" in call:
            from mini_lima.report import workspace

            say(workspace.save(call["dashboard"]))
        else:
            follow(call["run"], call["config"], [Path(each) for each in call["follow"]], say)
    except Exception as error:
        said = " ".join(str(error).split())
        say(f"{type(error).__name__}: {said}" if said else type(error).__name__)
        os._exit(1)


def follow(run: dict[str, Any], config: dict[str, Any], files: Sequence[Path], say: Say) -> None:
    """Log the rows of the first of ``files`` that exists as it grows.

    The run is opened with the first row: while data is written there is nothing to be seen.
    """
    while not (rows := _first(files)):
        if _word_within(SECONDS_BETWEEN_LOOKS) is not None:
            return
    # Training runs in other processes: those of whoever started this one.
    watched = {"x_stats_pid": os.getppid(), "x_stats_track_process_tree": True}
    with tempfile.TemporaryDirectory(prefix="mini-lima-", ignore_cleanup_errors=True) as folder:
        opened = open_run(run, config, folder, SECONDS_TO_LEAVE, **watched)
        say(f"live at {opened.url}")
        word = None
        while word is None:
            log_rows(opened, rows)
            word = _word_within(SECONDS_BETWEEN_LOOKS)
            rows = _first(files)
        log_rows(opened, rows)
        opened.finish(exit_code=0 if word == FINISHED else 1)


def _first(files: Sequence[Path]) -> list[dict[str, Any]]:
    for file in files:
        try:
            return rows_of(file)
        except FileNotFoundError:
            continue
    return []


def _word_within(seconds: float) -> bytes | None:
    """What is said on stdin within ``seconds``, b"" for its end; None if nothing is."""
    ready, _, _ = select.select([0], [], [], seconds)
    return os.read(0, len(FINISHED)) if ready else None


def _own_voice() -> Say:
    """Keep stdout for ourselves: the library's service inherits its own, and may outlive us."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return lambda line: print(line, file=own, flush=True)


if __name__ == "__main__":
    main()
