"""A sweep as jobs of a real Slurm, which the test starts for itself.

Two cells share a training. They are cancelled while one trains and the other waits for it; then the
same command is given again.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from mini_lima.files import read_json, read_jsonl
from tests.composing import ROOT
from tests.experiment import slurm

pytest.importorskip("submitit", reason="pip install -e '.[slurm]'")
COMMAND = (
    *("-m", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null"),
    *("hydra.launcher.mem_gb=null", "hydra.launcher.cpus_per_task=1"),
    *("experiment=embedded", "tracking=disabled", "data=naive"),
    *("evaluation.limit=4", "evaluation.max_new_tokens=16", "evaluation.bootstrap_samples=200"),
    *("sft.epochs=1", "sft.checkpoint_steps=null"),
)


@pytest.fixture(scope="module")
def cluster():
    """The environment of a person who has logged in to a cluster; skips where there is none."""
    if lacking := slurm.lacking():
        pytest.skip(lacking)
    with contextlib.ExitStack() as stack:
        try:
            yield {**os.environ, **stack.enter_context(slurm.cluster())}
        except slurm.CannotStart as why:
            pytest.skip(str(why))


def start(cluster, folder, *arguments):
    places = [f"store={folder / 'store'}", f"hydra.sweep.dir={folder / 'cells'}"]
    return subprocess.Popen(
        [sys.executable, ROOT / "run.py", *COMMAND, *places, *arguments],
        env=cluster,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def records(folder):
    return [read_json(path) for path in folder.glob("cells/*/cell.json")]


def test_cancelled_cells_are_submitted_again_and_go_on_where_they_were(cluster, tmp_path):
    seeds = "annotator.seed=0,1"
    first = start(cluster, tmp_path, seeds)

    def one_trains_and_the_other_waits():
        logs = [log.read_text() for log in tmp_path.glob("cells/*/mini-lima.log")]
        waiting = sum(bool(re.search(r"sft qwen-tiny-naive-\w+: waiting", log)) for log in logs)
        steps = [path.read_text() for path in tmp_path.glob("store/sft/.work/*/metrics.jsonl")]
        return waiting == 1 and any(steps)

    while not one_trains_and_the_other_waits():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.02)
    subprocess.run(["scancel", "--user=root"], env=cluster, check=True)
    while subprocess.run(["squeue", "-h"], env=cluster, check=True, stdout=-1, text=True).stdout:
        time.sleep(0.2)
    # submitit learns of killed jobs from sacct, which has no database to ask here.
    first.terminate()
    said, _ = first.communicate()
    assert f"mini-lima compare {tmp_path / 'cells'}" in said
    [checkpoint] = tmp_path.glob("store/sft/.work/*/checkpoint-*")
    before = read_jsonl(checkpoint / "metrics.jsonl")
    assert Counter(each["status"] for each in records(tmp_path)) == {"stopped": 1, "unfinished": 1}

    again = start(cluster, tmp_path, seeds)
    said, _ = again.communicate()
    assert again.returncode == 0, said
    assert "Δ" in said, "the table"
    built = Counter(stage for each in records(tmp_path) for stage in each["executed"])
    assert set(built.values()) == {1}, "what cells share is built once"
    assert Counter(stage.split()[0] for stage in built) == Counter(
        sft=1, contamination=1, outputs=2, metrics=2, annotations=4, result=2
    )
    [trained] = tmp_path.glob("store/sft/qwen-tiny-naive-*")
    steps = read_jsonl(trained / "metrics.jsonl")
    assert 0 < len(before) < len(steps) == 24
    assert steps[: len(before)] == before, "with the times that they took"


def test_what_keeps_a_job_from_running_is_said_where_it_was_submitted(cluster, tmp_path):
    process = start(cluster, tmp_path, "data.seeds=/nowhere.jsonl")
    said, _ = process.communicate()
    assert process.returncode == 2
    assert "/nowhere.jsonl: no such file" in said
    assert "Traceback" not in said
