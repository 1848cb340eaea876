"""A run that is killed and started again ends with the very bits of one that was left alone."""

import os
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from mini_lima import sft
from mini_lima.errors import UserError
from mini_lima.sft import checkpoints
from mini_lima.sft.checkpoints import Launch
from tests.sft.attempts import (
    LAUNCH,
    LORA,
    OPTIONS,
    SETTINGS,
    STEPS,
    Attempt,
    Attempts,
    Meanwhile,
    allow_files_of_a_megabyte,
    ask_to_stop,
    kill,
    killed_before,
    killed_while_writing,
    on_step,
)


def killed_at(step: int, rank: int = 0) -> Meanwhile:
    return on_step, (rank, step, kill)


HALF_WRITTEN = (killed_while_writing, (0, 6))
NOT_YET_RENAMED = (killed_before, ("os", "rename"))
OLD_ONE_NOT_YET_REMOVED = (killed_before, ("shutil", "rmtree"))
STOPPED = (on_step, (0, 4, ask_to_stop))
DISK_FULL = (on_step, (0, 5, allow_files_of_a_megabyte))

CHAINS: dict[str, tuple[list[Meanwhile], int, dict[str, Any]]] = {
    "zero2_offload": (
        [
            killed_at(3),
            OLD_ONE_NOT_YET_REMOVED,
            HALF_WRITTEN,
            NOT_YET_RENAMED,
            STOPPED,
            DISK_FULL,
            killed_at(7),
        ],
        1,
        {},
    ),
    "zero3 on two": ([killed_at(3, rank=1), STOPPED], 2, {"deepspeed": OPTIONS["zero3"]}),
    "bf16 with zero1": ([killed_at(5)], 1, {"precision": "bf16", "deepspeed": OPTIONS["zero1"]}),
    "LoRA with dropout": ([killed_at(5)], 1, {"adapter": LORA}),
}


@pytest.fixture(scope="module", autouse=True)
def chains(attempts: Attempts) -> dict[str, Future[list[Attempt]]]:
    for _, processes, changes in CHAINS.values():
        attempts.whole(processes, **changes)
    return {
        name: attempts.chain(what, processes, checkpoint_steps=2, **changes)
        for name, (what, processes, changes) in CHAINS.items()
    }


@pytest.mark.parametrize("name", CHAINS)
def test_killed_and_started_again_it_ends_with_the_same_bits(
    name: str, attempts: Attempts, chains: dict[str, Future[list[Attempt]]]
) -> None:
    interruptions, processes, changes = CHAINS[name]
    whole = attempts.whole(processes, **changes).result()
    *interrupted, last = chains[name].result()

    assert [attempt.codes != [0] * processes for attempt in interrupted] == [True] * len(
        interruptions
    )
    assert last.codes == [0] * processes, last.raised
    assert [row["step"] for row in last.rows] == list(range(1, STEPS + 1))
    assert last.rows == whole.rows
    expected = whole.weights
    assert last.weights.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in last.weights.items())


def test_each_attempt_goes_on_from_the_last_whole_checkpoint_and_keeps_no_other(
    chains: dict[str, Future[list[Attempt]]],
) -> None:
    at = {step: f"checkpoint-{step:08d}" for step in range(STEPS)}

    assert [each.checkpoints for each in chains["zero2_offload"].result()] == [
        [at[2]],
        *([at[2], at[4]] for _ in ("the older one not removed", "half-written", "not renamed")),
        [at[5]],  # where it was asked to stop
        [at[5]],  # that of step 6 did not fit
        [at[6]],
        [at[6]],
    ]


def test_sigterm_to_any_rank_stops_all_of_them_after_the_same_step(
    chains: dict[str, Future[list[Attempt]]],
) -> None:
    stopped = chains["zero3 on two"].result()[1]

    assert stopped.raised == ["Stopped: stopped by SIGTERM at step 5 of 8"] * 2
    assert stopped.checkpoints == ["checkpoint-00000005"]


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(
    chains: dict[str, Future[list[Attempt]]],
) -> None:
    [said] = chains["zero2_offload"].result()[5].raised

    assert said.startswith("UserError: the checkpoint of step 6 cannot be written to ")
    assert "that of step 5 is intact: make room and run the same command again" in said


def test_a_rank_that_dies_takes_the_others_with_it(
    chains: dict[str, Future[list[Attempt]]],
) -> None:
    assert chains["zero3 on two"].result()[0].codes == [1, -9]


def test_a_damaged_checkpoint_is_left_out(
    attempts: Attempts,
    chains: dict[str, Future[list[Attempt]]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    work_dir = shutil.copytree(chains["zero2_offload"].result()[-1].work_dir, tmp_path / "work")
    found = checkpoints.last(work_dir)
    assert found is not None
    assert (found.step, found.launch) == (6, Launch(1, "cpu"))
    largest = max(found.folder.rglob("*"), key=lambda path: path.stat().st_size)
    before, content = largest.stat(), bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)
    os.utime(largest, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert checkpoints.last(work_dir, content=True) is None
    assert f"{found.folder} is damaged and left out" in caplog.text
    assert attempts.again(work_dir).rows == attempts.whole().result().rows


def test_another_number_of_processes_is_refused_before_anything_starts(
    attempts: Attempts, chains: dict[str, Future[list[Attempt]]], tmp_path: Path
) -> None:
    work_dir = chains["zero2_offload"].result()[-1].work_dir

    with pytest.raises(UserError, match=r"1 process\(es\) on cpu.* with 2 process\(es\) on cpu: "):
        sft.train(
            tmp_path, work_dir=work_dir, data=attempts.data, **SETTINGS | LAUNCH | {"processes": 2}
        )
