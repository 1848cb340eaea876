"""A run in Weights & Biases: its rows while training writes them, and everything in the end.

The library is used in this process, and imported only when something is tracked. It is a view on
the work and never a part of it. A run that the server does not take in time, or refuses, is written
offline under the same id, so that nothing is lost: `wandb sync` brings it later.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from mini_lima.files import read_json, read_jsonl, write_json, write_text
from mini_lima.text import as_line, redacted

log = logging.getLogger(__name__)
T = TypeVar("T")
METRICS = "metrics.jsonl"
RUN_FILE, TABLES = "run.json", "tables.json"
SECONDS = 20
"""For all of a finished run, its opening included; see also `BYTES_A_SECOND`."""
SECONDS_TO_CONNECT = 6
SECONDS_TO_FINISH = 6
"""For the last rows of a live run."""
SECONDS_TO_LEAVE = 2
"""For a failed run, and for the library's service, to end: later it does so by itself."""
BYTES_A_SECOND = 1_000_000
"""An upload may take as long as this needs for its files."""
SECONDS_BETWEEN_LOOKS = 1.0
MOST_BYTES_TO_DIGEST = 64 * 1024**2
"""What is larger is known by its place: to read a model of 4 GB takes longer than is left."""


@dataclass(frozen=True)
class Run:
    """A run as W&B knows it.

    Attributes:
        id: The same for the same content: what is tracked again goes on in the same run.
        mode: ``online``, or ``offline`` for a later ``wandb sync``.
        project: W&B project.
        entity: W&B user or team; None is the user's default.
        group: The sweep.
        name: For people.
        job_type: ``cell``, or ``comparison`` for what the cells of a sweep say together.
    """

    id: str
    mode: Literal["online", "offline"]
    project: str
    entity: str | None
    group: str
    name: str
    job_type: Literal["cell", "comparison"] = "cell"


@dataclass(frozen=True)
class Artifact:
    """A finished stage as W&B knows it.

    Attributes:
        name: Of the collection.
        type: What W&B sorts by.
        alias: The first digits of the fingerprint.
        used: The run was made from it; otherwise it has made it.
        metadata: Fingerprint, parameters, inputs and counts.
        folder: Where the files are.
        files: Their paths in ``folder``.
    """

    name: str
    type: str
    alias: str
    used: bool
    metadata: dict[str, Any]
    folder: Path
    files: list[str]


@dataclass(frozen=True)
class Contents:
    """What a finished run shows.

    Attributes:
        config: The composed configuration.
        summary: Figures by name.
        tables: Each with ``columns`` and ``rows``, by name.
        metrics: File with the rows of a training; those that are not there yet are added.
        artifacts: What it was made from and has made.
        upload: Their files too.
        texts: Files by name.
    """

    config: dict[str, Any]
    summary: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    metrics: Path | None = None
    artifacts: list[Artifact] = field(default_factory=list)
    upload: bool = False
    texts: dict[str, str] = field(default_factory=dict)


def missing_login() -> str | None:
    """Return what is missing and what to do about it, or None if a key is there."""
    if os.environ.get("WANDB_API_KEY"):
        return None
    from requests.utils import get_netrc_auth

    if get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")) is not None:
        return None
    return "a Weights & Biases login: run wandb login, or set WANDB_API_KEY"


def write_run(run: Run, contents: Contents, folder: Path) -> None:
    """Log ``contents``: online, or below ``folder/wandb`` if that is wanted or the server fails.

    Args:
        run: The run; what has not changed since it was written to ``folder`` is not sent again.
        contents: What it shows.
        folder: Receives the tables, and ``run.json``: id, mode, address, and why it was not sent.
    """
    run, contents = _redacted(run, contents)
    done = folder / RUN_FILE
    if done.is_file():
        before = read_json(done)
        same = (before["id"], before["mode"]) == (run.id, run.mode)
        if same and read_json(folder / TABLES) == contents.tables:
            return
        done.unlink()
        shutil.rmtree(folder / "wandb", ignore_errors=True)
    write_json(folder / TABLES, contents.tables)
    for name, text in contents.texts.items():
        write_text(folder / name, text)
    reason, url = None, None
    if run.mode == "online":
        try:
            url = _write_online(run, contents, folder)
        except Exception as error:  # whatever it is, the run is kept
            reason = _in_a_line(error)
            run = replace(run, mode="offline")
    if run.mode == "offline":
        with library() as wandb:
            _fill(wandb, _opened(wandb, run, contents.config, folder), contents, folder)
    write_json(done, {"id": run.id, "mode": run.mode, "url": url, "not_sent": reason})


def not_sent(folder: Path) -> str | None:
    """Return why the run that was written to ``folder`` is not online as it should be, in a line.

    With what brings it there; None if it is, if it need not be, or if it was brought.
    """
    file = folder / RUN_FILE
    reason = read_json(file).get("not_sent") if file.is_file() else None
    offline = next(folder.glob("wandb/offline-run-*"), None)
    if reason is None or offline is None or any(offline.glob("*.synced")):
        return None
    return f"{reason}; it was written offline, and this brings it: wandb sync {offline}"


@contextlib.contextmanager
def live(run: Run, config: Mapping[str, Any], folders: Sequence[Path]) -> Iterator[None]:
    """Show in ``run``, during the block, what a training writes.

    A failure is a line of the log: `write_run` completes the same run in any case.

    Args:
        run: The run; opened when the first row is there.
        config: The composed configuration.
        folders: Where the record of the training is or will be; the first that has one counts.
    """
    run, contents = _redacted(run, Contents(dict(config)))
    ended = threading.Event()
    exit_code = 1

    def follow() -> None:
        try:
            while not _rows(folders):
                if ended.wait(SECONDS_BETWEEN_LOOKS):
                    return
            with library() as wandb, _temporary_folder() as folder:
                opened = _opened(wandb, run, contents.config, folder, x_disable_stats=False)
                log.info("live in Weights & Biases: %s", opened.url)
                over = False
                while not over:
                    over = ended.wait(SECONDS_BETWEEN_LOOKS)
                    _log_rows(opened, _rows(folders))
                opened.finish(exit_code=exit_code)
        except Exception as error:
            log.warning("not live in Weights & Biases: %s", _in_a_line(error))

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
        exit_code = 0
    finally:
        ended.set()
        follower.join()


@contextlib.contextmanager
def library() -> Iterator[ModuleType]:
    """Give wandb; after the block its service and what it has put into ``sys`` are gone."""
    # The library reports on itself, of offline runs too: where nothing answers, they wait for it.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    kept = sys.exit, sys.excepthook
    import wandb

    wandb.setup(wandb.Settings(silent=True, console="off"))
    try:
        yield wandb
    finally:
        # A service that has failed raises SystemExit, as if that were the end of the program.
        with contextlib.suppress(Exception, SystemExit):
            within(SECONDS_TO_LEAVE, wandb.teardown)
        sys.exit, sys.excepthook = kept
        sys.meta_path[:] = [
            each for each in sys.meta_path if not type(each).__module__.startswith("wandb.")
        ]


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns; leave it to a thread of its own when it takes longer.

    Raises:
        TimeoutError: It did not end in time.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        if done.done():
            raise
        raise TimeoutError(f"Weights & Biases took more than {seconds:.0f} s") from error


def _write_online(run: Run, contents: Contents, folder: Path) -> str:
    seconds: float = SECONDS
    if contents.upload:
        files = [Path(each.folder, file) for each in contents.artifacts for file in each.files]
        seconds += sum(file.stat().st_size for file in files) / BYTES_A_SECOND
    began = time.monotonic()
    with library() as wandb, _temporary_folder() as temporary:
        opened = _opened(
            wandb,
            run,
            contents.config,
            temporary,
            finish_timeout=seconds,
            x_file_transfer_timeout_seconds=seconds,
        )
        try:
            left = began + seconds - time.monotonic()
            within(left, lambda: _fill(wandb, opened, contents, folder))
        except Exception:
            with contextlib.suppress(Exception):  # it has failed already; this ends its threads
                within(SECONDS_TO_LEAVE, lambda: opened.finish(exit_code=1))
            raise
        return str(opened.url)


def _opened(
    wandb: Any, run: Run, config: Mapping[str, Any], folder: Path | str, **settings: Any
) -> Any:
    """Open a run, or go on in the one that has its id."""
    online: dict[str, Any] = {
        "init_timeout": SECONDS_TO_CONNECT,
        "finish_timeout": SECONDS_TO_FINISH,
        "finish_timeout_raises": True,
        # Neither is stopped by the time-out of the end: the library's default is 20 attempts.
        "x_file_transfer_retry_max": 2,
        "x_file_transfer_retry_wait_max_seconds": 2,
    }
    return wandb.init(
        **asdict(run),
        config=dict(config),
        dir=folder,
        resume="allow" if run.mode == "online" else None,
        reinit="create_new",
        settings=wandb.Settings(
            **{
                "x_disable_stats": True,
                "x_stats_track_process_tree": True,  # training runs in processes of ours
                **(online if run.mode == "online" else {}),
                **settings,
            }
        ),
    )


def _fill(wandb: Any, run: Any, contents: Contents, folder: Path) -> None:
    if contents.metrics is not None:
        _log_rows(run, read_jsonl(contents.metrics))
    run.log(
        {
            name: wandb.Table(columns=each["columns"], data=each["rows"])
            for name, each in contents.tables.items()
        }
    )
    run.summary.update(contents.summary)
    for name in contents.texts:
        run.save(folder / name, base_path=folder, policy="now")
    sent = []
    for each in contents.artifacts:
        artifact = wandb.Artifact(each.name, each.type, metadata=each.metadata)
        for name in each.files:
            file = each.folder / name
            if contents.upload:
                artifact.add_file(str(file), name=name, policy="immutable", skip_cache=True)
            else:
                small = file.stat().st_size <= MOST_BYTES_TO_DIGEST
                artifact.add_reference(file.as_uri(), name=name, checksum=small)
        if not each.used:
            sent.append(run.log_artifact(artifact, aliases=[each.alias]))
        elif not run.offline:  # where the library cannot say that it was used
            run.use_artifact(artifact, aliases=[each.alias])
    if not run.offline:
        for artifact in sent:
            artifact.wait()  # raises what would otherwise be a line in the library's log
    run.finish()


def _log_rows(run: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Log the ``rows`` that ``run`` does not have; W&B takes no step twice and none out of turn."""
    first = run.step
    for row in rows:
        if row["step"] >= first:
            figures = {f"sft/{key}": value for key, value in row.items() if key != "step"}
            run.log(figures, step=row["step"], commit=True)


def _rows(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The rows of the first record there is; all of them, since a restart writes it again."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            *whole, _ = (folder / METRICS).read_text(encoding="utf-8").split("\n")
            return [json.loads(line) for line in whole]
    return []


def _redacted(run: Run, contents: Contents) -> tuple[Run, Contents]:
    clean = redacted({"run": asdict(run), "contents": asdict(contents)})
    artifacts = [Artifact(**each) for each in clean["contents"].pop("artifacts")]
    return Run(**clean["run"]), Contents(**clean["contents"], artifacts=artifacts)


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="mini-lima-", ignore_cleanup_errors=True)


def _in_a_line(error: Exception) -> str:
    """What went wrong; servers repeat what they were sent."""
    said = as_line(redacted(str(error)))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
