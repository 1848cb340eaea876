"""The whole of it: parent, launcher, workers, signals; what happens is in launched_job.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mini_lima import sft
from mini_lima.files import read_jsonl, write_jsonl
from mini_lima.sft import checkpoints
from mini_lima.sft.checkpoints import Launch
from mini_lima.workers.launch import WorkerKilled
from tests.sft.attempts import EXAMPLES, LAUNCH, SETTINGS

HERE = Path(__file__).parent
EPOCHS = 10_000  # far more than there is time for


def test_sigterm_is_passed_on_and_ends_the_run_with_a_checkpoint_and_a_line(
    tmp_path: Path,
) -> None:
    folders = {name: tmp_path / name for name in ("data", "work_dir", "output_dir")}
    for folder in folders.values():
        folder.mkdir()
    write_jsonl(folders["data"] / "examples.jsonl", EXAMPLES)
    given: dict[str, Any] = {**SETTINGS, **LAUNCH, "epochs": EPOCHS}
    given |= {name: str(folder) for name, folder in folders.items()}
    command = [sys.executable, str(HERE / "launched_job.py"), json.dumps(given)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = checkpoints.last(folders["work_dir"])

    assert found is not None, ended.stdout + ended.stderr
    assert found.launch == Launch(1, "cpu")
    assert 3 <= found.step < 2 * EPOCHS
    line = (
        f"stopped by SIGTERM at step {found.step} of {2 * EPOCHS}; run the same command again to"
        " go on"
    )
    assert ended.stdout.splitlines()[-1] == line
    assert ended.returncode == 143
    for rows in (found.folder / "metrics.jsonl", folders["work_dir"] / "metrics.jsonl"):
        assert [row["step"] for row in read_jsonl(rows)] == list(range(1, found.step + 1))


def test_a_killed_rank_ends_the_run_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: Any, **more: Any) -> None:
        raise WorkerKilled("worker 1 was ended by SIGKILL")

    monkeypatch.setattr(sft.launch, "run", killed)
    advice = r"^worker 1 .*; if it was memory, try model.micro_batch_size_per_gpu=1 "
    with pytest.raises(WorkerKilled, match=advice):
        sft.train(tmp_path, work_dir=tmp_path, **SETTINGS, **LAUNCH)
