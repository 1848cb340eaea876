"""Sweeps as jobs of a real Slurm, which the tests start for themselves.

One sweep serves most tests: four cells that share a training. They are cancelled while one trains
and the others wait for it; then the same command is given again.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import slurm

from mini_lima.files import read_json, read_jsonl

pytest.importorskip("submitit", reason="pip install -e '.[slurm]'")
ROOT = Path(__file__).parent.parent
CELLS = ("experiment=embedded", "tracking=disabled", "data=naive", "annotator.seed=0,1,2,3")
SMALL = (
    *("evaluation.limit=4", "evaluation.max_new_tokens=16", "evaluation.bootstrap_samples=200"),
    *("sft.epochs=1", "sft.checkpoint_steps=null"),
)
ON_THIS_CLUSTER = (
    "hydra/launcher=slurm",
    *(f"hydra.launcher.{resource}=null" for resource in ("gpus_per_node", "mem_gb")),
    *("hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=20"),
)
LATER = "+hydra.launcher.additional_parameters.begin=now+1hour"
NO_SEEDS = "data.seeds=/nowhere.jsonl"
LIMIT = 240  # seconds after which a test fails rather than waits


@dataclass
class Cluster:
    """The commands of a person who has logged in to it."""

    folder: Path
    variables: dict[str, str]

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, ROOT / "run.py", "-m", *ON_THIS_CLUSTER, *arguments]
        places = [f"store={self.folder / 'store'}", f"hydra.sweep.dir={self.folder / name}"]
        return subprocess.Popen(
            [*map(str, command), *places],
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(name, *arguments)
        said, _ = process.communicate(timeout=LIMIT)
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    def slurm(self, *command: str) -> str:
        return subprocess.run(
            command,
            env=self.variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=LIMIT,
        ).stdout

    def records(self, name: str) -> dict[str, dict]:
        paths = (self.folder / name).glob("*/cell.json")
        return {path.parent.name: read_json(path) for path in paths}


@contextlib.contextmanager
def started() -> Iterator[dict[str, str]]:
    """A cluster that is up, as its environment variables; where there is none, skip the test."""
    if lacking := slurm.lacking():
        pytest.skip(lacking)
    with contextlib.ExitStack() as stack:
        try:
            variables = stack.enter_context(slurm.cluster())
        except slurm.CannotStart as why:
            pytest.skip(str(why))
        yield variables


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with started() as variables:
        folder = tmp_path_factory.mktemp("cluster")
        given = {key: value for key, value in os.environ.items() if key != "MINI_LIMA_SWEEP"}
        yield Cluster(folder, given | variables)


def until(process: subprocess.Popen[str], said: str) -> tuple[re.Match[str], list[str]]:
    """Read what ``process`` says up to a line with ``said``."""
    lines = []
    late = threading.Timer(LIMIT, process.kill)
    late.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(said, line):
                return found, lines
    finally:
        late.cancel()
    raise AssertionError("".join(lines))


@dataclass
class Interrupted:
    code: int
    said: str
    records: dict[str, dict]
    steps: list[dict]
    """Of the training that was cancelled, as far as it got."""
    again: subprocess.Popen[str]
    """The same command; it runs while other tests do."""


@pytest.fixture(scope="module")
def interrupted(cluster) -> Interrupted:
    first = cluster.start("cells", *CELLS, *SMALL)
    array, before = until(first, r"cells are Slurm job (\d+)")

    def one_trains_and_all_others_wait() -> bool:
        said = "".join(log.read_text() for log in cluster.folder.glob("cells/*/*.log"))
        waiting = re.findall(r"sft qwen-tiny-naive-(\w+): waiting", said)
        steps = cluster.folder / f"store/sft/.work/{waiting and waiting[0]}/metrics.jsonl"
        return len(waiting) == 3 and steps.is_file() and bool(steps.read_text())

    deadline = time.monotonic() + LIMIT
    while not one_trains_and_all_others_wait():
        assert first.poll() is None, "".join([*before, *first.stdout])
        assert time.monotonic() < deadline, "the training did not begin"
        time.sleep(0.02)
    cluster.slurm("scancel", array[1])
    said, _ = first.communicate(timeout=LIMIT)
    [checkpoint] = cluster.folder.glob("store/sft/.work/*/checkpoint-*")
    steps = read_jsonl(checkpoint / "metrics.jsonl")
    records = cluster.records("cells")
    again = cluster.start("cells", *CELLS, *SMALL)
    return Interrupted(first.returncode, said, records, steps, again)


@pytest.fixture(scope="module")
def finished(cluster, interrupted) -> dict[str, dict]:
    """The cells once all has been done."""
    said, _ = interrupted.again.communicate(timeout=LIMIT)
    assert interrupted.again.returncode == 0, said
    assert "Δ" in said, "the table"
    return cluster.records("cells")


def executed(records: dict[str, dict]) -> Counter[str]:
    """What the cells have built, by kind; each once."""
    stages = Counter(stage for r in records.values() for stage in r.get("executed", ()))
    assert set(stages.values()) <= {1}
    return Counter(stage.split()[0] for stage in stages)


def knowing(variables: dict[str, str]) -> list[str]:
    """The processes that were started with ``variables`` and still run."""
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= {*(process / "environ").read_bytes().split(b"\0")}:
                found.append((process / "cmdline").read_text())
    return found


def test_a_cluster_that_does_not_come_up_is_told_from_one_that_does(monkeypatch):
    if lacking := slurm.lacking():
        pytest.skip(lacking)
    monkeypatch.setattr(slurm, "CONF", f"{slurm.CONF}NoSuchKey=1\n")
    with pytest.raises(slurm.CannotStart, match="has ended"), slurm.cluster():
        raise AssertionError("it is up")


def test_a_cluster_takes_along_all_that_it_ran():
    with started() as variables:
        command = ["srun", "sh", "-c", "echo begun; exec sleep 1000"]
        waiting = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout.readline() == "begun\n"
        assert any("sleep" in each for each in knowing(variables))
    with waiting:
        assert waiting.wait(LIMIT) != 0
    assert knowing(variables) == []


def test_cancelled_cells_stand_in_the_table_with_their_logs(interrupted):
    assert interrupted.code == 1, interrupted.said
    cells = {record["status"]: record for record in interrupted.records.values()}
    statuses = Counter(record["status"] for record in interrupted.records.values())
    assert statuses == {"stopped": 1, "killed": 3}
    assert f"at step {len(interrupted.steps)} of 24" in cells["stopped"]["reason"]
    assert "stopped by SIGTERM" in Path(cells["stopped"]["log"]).read_text()
    assert cells["killed"]["reason"].endswith("it was cancelled")
    assert "waiting for" in Path(cells["killed"]["log"]).read_text()
    assert interrupted.said.count("stopped by SIGTERM") == 2, "in the log and in the table"


def test_what_slurm_refuses_is_said_in_a_line(cluster):
    ended = cluster.run("partition", *CELLS, "hydra.launcher.partition=nope")
    assert ended.returncode == 2
    assert "invalid partition specified: nope" in ended.stdout.splitlines()[-1]


def test_a_cell_that_cannot_run_says_why_where_the_sweep_was_started(cluster):
    ended = cluster.run("refused", "experiment=embedded", NO_SEEDS)
    assert ended.returncode == 2
    assert "/nowhere.jsonl: no such file" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_jobs_outlive_the_command_that_submitted_them(cluster):
    command = cluster.start("left", *CELLS, NO_SEEDS, LATER)
    array, _ = until(command, r"cells are Slurm job (\d+)")
    command.send_signal(signal.SIGINT)
    said, _ = command.communicate(timeout=LIMIT)
    assert command.returncode == 130
    assert f"scancel {array[1]}" in said
    assert "Traceback" not in said
    squeue = ("squeue", "--noheader", "--array", f"--jobs={array[1]}", "--states=PENDING")
    assert len(cluster.slurm(*squeue).splitlines()) == 4
    cluster.slurm("scancel", array[1])


def test_cells_that_are_killed_before_they_begin_do_not_keep_the_others_from_ending(cluster):
    command = cluster.start("killed", *CELLS, NO_SEEDS, LATER)
    array, _ = until(command, r"cells are Slurm job (\d+)")
    cluster.slurm("scancel", f"{array[1]}_[0-2]")
    cluster.slurm("scontrol", "update", f"jobid={array[1]}_3", "starttime=now")
    command.communicate(timeout=LIMIT)
    assert command.returncode == 2, "that of the cell which ran"
    records = list(cluster.records("killed").values())
    [own] = [record["reason"] for record in records if record["status"] == "failed"]
    killed = [record["reason"] for record in records if record["status"] == "killed"]
    assert "/nowhere.jsonl: no such file" in own
    assert {reason.partition(":")[0] for reason in killed} == {
        f"Slurm job {array[1]}_{task}" for task in range(3)
    }
    report = (cluster.folder / "killed/report.md").read_text()
    assert all(reason in report for reason in [*killed, "/nowhere.jsonl: no such file"])


def test_jobs_side_by_side_build_what_they_share_once(finished):
    assert {record["status"] for record in finished.values()} == {"finished"}
    assert executed(finished) == Counter(
        sft=1, contamination=1, outputs=2, metrics=2, annotations=8, result=4
    )


def test_a_cancelled_training_that_is_submitted_again_goes_on_where_it_was(
    cluster, interrupted, finished
):
    [trained] = cluster.folder.glob("store/sft/qwen-tiny-naive-*")
    steps = read_jsonl(trained / "metrics.jsonl")
    assert 0 < len(interrupted.steps) < len(steps) == 24
    assert steps[: len(interrupted.steps)] == interrupted.steps, "with the times that they took"
