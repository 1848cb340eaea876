"""The program that talks to Weights & Biases; the only module that knows wandb.

It is a process of its own. A server that dies or hangs holds up whoever has called the library, at
the latest when the interpreter ends: here that is nobody who matters, and `tracking` and `live` put
an end to it when its time is over.

One line of JSON on stdin says what to do:

    complete  all that is known of a finished cell, then the end
    follow    the rows of a training that goes on, until stdin has a word or closes

It answers in lines on stdout, the last of which is the reason when the exit code is 1.
"""

import json
import os
import select
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mini_lima.files import read_json, write_json

FINISHED = b"finished\n"
"""The word that ends following when all went well; the mere end of stdin says that it did not."""
SECONDS_TO_CONNECT = 10
SECONDS_TO_UPLOAD = 12
SECONDS_TO_LEAVE = 4
"""To upload what is left when following ends: what is missing then is added by ``complete``."""
SECONDS_BETWEEN_LOOKS = 1.0

Say = Callable[[str], None]


def main() -> None:
    """Do what stdin says; after a failure leave without the library's farewell, which may hang."""
    say = _own_voice()
    stdin = open(0, "rb", buffering=0)  # noqa: SIM115 - what is read ahead would escape select
    call = json.loads(stdin.readline())
    try:
        if "complete" in call:
            complete(call["run"], call["config"], **call["complete"])
        else:
            follow(call["run"], call["config"], [Path(each) for each in call["follow"]], say)
    except Exception as error:
        said = " ".join(str(error).split())
        say(f"{type(error).__name__}: {said}" if said else type(error).__name__)
        os._exit(1)


def complete(
    run: dict[str, Any],
    config: dict[str, Any],
    *,
    output_dir: str,
    metrics: str,
    summary: dict[str, Any],
    answers: str,
) -> None:
    """Log a cell that is finished; of the rows in ``metrics`` those that are not there yet."""
    import wandb

    table = read_json(Path(answers))
    with _open(run, config, output_dir, SECONDS_TO_UPLOAD, x_disable_stats=True) as opened:
        _log(opened, _rows(Path(metrics)))
        opened.log({"answers": wandb.Table(columns=table["columns"], data=table["rows"])})
        opened.summary.update(summary)
        found = {"id": opened.id, "url": opened.url, "mode": run["mode"]}
    write_json(Path(output_dir, "run.json"), found)


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
        opened = _open(run, config, folder, SECONDS_TO_LEAVE, **watched)
        say(f"live at {opened.url}")
        word = None
        while word is None:
            _log(opened, rows)
            word = _word_within(SECONDS_BETWEEN_LOOKS)
            rows = _first(files)
        _log(opened, rows)
        opened.finish(exit_code=0 if word == FINISHED else 1)


def _open(
    run: dict[str, Any],
    config: dict[str, Any],
    folder: str,
    seconds_to_finish: int,
    **settings: Any,
) -> Any:
    import wandb

    return wandb.init(
        **run,
        config=config,
        dir=folder,
        job_type="cell",
        resume="allow" if run["mode"] == "online" else None,
        settings=wandb.Settings(
            init_timeout=SECONDS_TO_CONNECT,
            finish_timeout=seconds_to_finish,
            finish_timeout_raises=True,
            console="off",
            silent=True,
            **settings,
        ),
    )


def _log(run: Any, rows: Iterable[dict[str, Any]]) -> None:
    """Log the ``rows`` that ``run`` does not have; W&B takes no step twice and none out of turn."""
    for row in rows:
        if row["step"] >= run.step:
            figures = {f"sft/{key}": value for key, value in row.items() if key != "step"}
            run.log(figures, step=row["step"], commit=True)


def _first(files: Sequence[Path]) -> list[dict[str, Any]]:
    for file in files:
        try:
            return _rows(file)
        except FileNotFoundError:
            continue
    return []


def _rows(file: Path) -> list[dict[str, Any]]:
    """The whole lines of ``file``; it is read anew each time, since a restart writes it anew."""
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


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
