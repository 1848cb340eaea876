"""Workers under the real elastic launcher; what they do is in launch_job.py."""

import contextlib
import logging
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mini_lima.errors import UserError
from mini_lima.files import read_json
from mini_lima.workers import launch, worker
from mini_lima.workers.launch import Nodes, WorkerFailed

HERE = Path(__file__).parent
SEARCH_PATH = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))

HEED_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""What a shell starts in the background is told to ignore Ctrl-C, and these tests may be."""
PARENT = f"""
import logging, sys
from pathlib import Path
from mini_lima.workers import launch
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(message)s")
launch.run("launch_job", processes=2, threads=1, environment={{"PYTHONPATH": {SEARCH_PATH!r}}},
           output_dir=Path(sys.argv[1]), doing="hold")
"""


def run(output_dir: Path, doing: str, *, processes: int = 1, **given: Any) -> None:
    environment = {"PYTHONPATH": SEARCH_PATH, "EXTRA": "yes"}
    launch.run(
        "launch_job",
        processes=processes,
        threads=1,
        environment=environment,
        output_dir=output_dir,
        doing=doing,
        **given,
    )


@contextlib.contextmanager
def parent_of_two_workers(output_dir: Path) -> Iterator[tuple[Any, list[int]]]:
    """A process that has launched two workers, and the pids of the launcher and the workers."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEED_SIGINT + PARENT, str(output_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pids: set[int] = set()
    try:
        for line in process.stdout:
            if line.startswith("holding "):
                pids |= {int(pid) for pid in line.split()[1:]}
            if len(pids) == 3:
                break
        assert len(pids) == 3
        yield process, sorted(pids)
    finally:
        for pid in [process.pid, *pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def ends(pid: int) -> bool:
    """Wait for the end of a process that need not be a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [])[0])
    finally:
        os.close(descriptor)


def both_shared_the_machine(output_dir: Path) -> bool:
    expected = {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "EXTRA": "yes"}
    found = {rank: read_json(output_dir / f"{rank}.json") for rank in ("0", "1")}
    return all({"RANK": rank, **expected}.items() <= found[rank].items() for rank in found)


def test_every_rank_makes_the_call_with_its_share_of_the_machine_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines, stages = tmp_path / "machine's", tmp_path / "stage's"
    for folder in (machines, stages):
        folder.mkdir()
    for name in launch.LIBRARIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.setenv("TMPDIR", str(machines))
    of_another_launcher = {
        **{"PET_NNODES": "2", "WORLD_SIZE": "7", "RANK": "5", "MASTER_ADDR": "192.0.2.1"},
        **{"ACCELERATE_USE_CPU": "true", "DS_ENV_FILE": "x", "TORCHELASTIC_RUN_ID": "other"},
    }
    for name, value in of_another_launcher.items():
        monkeypatch.setenv(name, value)
    started = Nodes(starter="env STARTED=yes", folder=stages)
    run(tmp_path, "note_what_it_was_given", processes=2, nodes=started)

    assert both_shared_the_machine(tmp_path)
    of_the_user = {**launch.LIBRARIES, "LRU_CACHE_CAPACITY": "7", "STARTED": "yes"}
    noted = read_json(tmp_path / "0.json")
    assert of_the_user.items() <= noted.items()
    foreign = [name for name in noted if name.startswith(("PET_", "ACCELERATE_", "DS_"))]
    assert foreign == []
    assert [*machines.iterdir(), *stages.iterdir()] == []


def test_progress_is_shown_and_everything_else_goes_to_the_debug_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        run(tmp_path, "show_progress")

    shown = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    kept = [r.getMessage() for r in caplog.records if r.name == "mini_lima.workers.launch"]
    assert shown == ["counting: 3 of 3, loss 1"]
    assert {"hello from a worker", "a bar of a library", "a line without an end"} <= set(kept)
    assert capfd.readouterr() == ("", "")


def test_what_is_wrong_with_the_input_arrives_word_for_word(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        run(tmp_path, "refuse_the_data", processes=2)

    assert str(raised.value) == "examples.jsonl, line 3: no output\n  add one"


def test_a_module_that_cannot_be_imported_is_the_error(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_package\n")

    with pytest.raises(WorkerFailed, match=r"^ModuleNotFoundError: .*no_such_package"):
        launch.run(
            "broken",
            processes=1,
            threads=1,
            environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{SEARCH_PATH}"},
        )


def test_a_killed_worker_is_the_cause_and_not_what_became_of_the_others(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(WorkerFailed, match=r"^worker 1 was ended by SIGKILL .*memory"):
        run(tmp_path, "be_killed", processes=2)


def test_a_rank_that_fails_ends_the_run_although_another_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(WorkerFailed, match=r"^ZeroDivisionError: only rank 1$"),
    ):
        run(tmp_path, "fail_while_the_other_waits", processes=2)

    assert "in fail_while_the_other_waits\n" in caplog.text
    assert "the second line" in caplog.text


def test_a_killed_parent_takes_launcher_and_workers_with_it(tmp_path: Path) -> None:
    with parent_of_two_workers(tmp_path) as (parent, pids):
        parent.kill()

        assert all(ends(pid) for pid in pids)


def test_an_interrupted_parent_leaves_no_workers_behind(tmp_path: Path) -> None:
    with parent_of_two_workers(tmp_path) as (parent, pids):
        os.killpg(parent.pid, signal.SIGINT)

        assert all(ends(pid) for pid in pids)
        assert parent.wait() != 0


def test_sigterm_ends_workers_that_have_nothing_to_save_and_then_the_parent(
    tmp_path: Path,
) -> None:
    with parent_of_two_workers(tmp_path) as (parent, pids):
        parent.terminate()

        assert all(ends(pid) for pid in pids)
        assert parent.wait() == 143
        said = parent.stdout.read().splitlines()
        assert said[-1] == "stopped by SIGTERM; run the same command again to go on"


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_two_nodes_find_each_other_and_work_as_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are this machine."""
    nodes = Nodes(2, f"127.0.0.1:{a_free_port()}", None, tmp_path)
    others: list[subprocess.Popen[bytes]] = []

    class AtTheOther(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _, found, command = record.getMessage().partition("waiting for 1 more: run on each ")
            if found:
                others.append(subprocess.Popen(shlex.split(command)))

    there = AtTheOther()
    logging.getLogger("mini_lima.workers.launch").addHandler(there)
    try:
        run(tmp_path, "note_what_it_was_given", nodes=nodes)
    finally:
        logging.getLogger("mini_lima.workers.launch").removeHandler(there)

    assert [other.wait() for other in others] == [0]
    assert both_shared_the_machine(tmp_path)


def test_a_process_whose_parent_died_before_it_could_look_ends_at_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mini_lima.workers.worker",
        "launch_job",
        str(tmp_path / "call.json"),
    ]
    finished = subprocess.run(command, env={**os.environ, worker.PARENT: "1"}, check=False)

    assert finished.returncode == -signal.SIGKILL


def test_an_abort_is_reported_with_the_reason_that_the_process_gave(tmp_path):
    with pytest.raises(WorkerFailed, match=r"SIGABRT.*bad_alloc"):
        run(tmp_path, "abort")


def test_a_worker_that_did_its_work_cannot_fail_any_more(tmp_path, caplog):
    run(tmp_path, "abort_while_the_process_ends")
    assert "what was printed last" in caplog.text
