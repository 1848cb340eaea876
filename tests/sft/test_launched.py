"""The whole of it: parent, launcher, workers, signals; what happens is in launched_job.py."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.sft.attempts import EXAMPLES, LAUNCH, SETTINGS

from mini_lima.files import read_jsonl, write_jsonl
from mini_lima.sft import checkpoints
from mini_lima.sft.checkpoints import Launch

HERE = Path(__file__).parent
EPOCHS = 10_000  # far more than there is time for
LIMIT = 120  # seconds after which a test fails rather than waits

Ended = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    data = tmp_path_factory.mktemp("data")
    write_jsonl(data / "examples.jsonl", EXAMPLES)

    def run(what: str, processes: int) -> Ended:
        work_dir, output_dir = (tmp_path_factory.mktemp(name) for name in ("work", "output"))
        given: dict[str, Any] = SETTINGS | LAUNCH
        given |= {"epochs": EPOCHS, "processes": processes, "data": str(data)}
        given |= {"work_dir": str(work_dir), "output_dir": str(output_dir)}
        command = [sys.executable, str(HERE / "launched_job.py"), what, json.dumps(given)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        return work_dir, ended

    side_by_side = ThreadPoolExecutor(2)
    yield {
        "stop": side_by_side.submit(run, "stop", 1),
        "kill": side_by_side.submit(run, "kill", 2),
    }
    side_by_side.shutdown()


def test_sigterm_is_passed_on_and_ends_the_run_with_a_checkpoint_and_a_line(
    runs: dict[str, Future[Ended]],
) -> None:
    work_dir, ended = runs["stop"].result()
    found = checkpoints.last(work_dir)

    assert found is not None, ended.stdout + ended.stderr
    assert found.launch == Launch(1, "cpu")
    assert 3 <= found.step < 2 * EPOCHS
    line = (
        f"stopped by SIGTERM at step {found.step} of {2 * EPOCHS}; run the same command again to"
        " go on"
    )
    assert ended.stdout.splitlines()[-1] == line
    assert ended.returncode == 143
    for rows in (found.folder / "metrics.jsonl", work_dir / "metrics.jsonl"):
        assert [row["step"] for row in read_jsonl(rows)] == list(range(1, found.step + 1))


def test_a_killed_rank_ends_the_run_with_what_became_of_it_and_what_to_do(
    runs: dict[str, Future[Ended]],
) -> None:
    _, ended = runs["kill"].result()
    last = ended.stdout.splitlines()[-1]

    assert last.startswith(
        "worker 1 was ended by SIGKILL (as the kernel does when memory runs out)"
    )
    assert "; if it was memory, try model.micro_batch_size_per_gpu=1 " in last
