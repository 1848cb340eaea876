"""Trainings that really diverge, or run out of memory or disk, and what a person is told."""

from concurrent.futures import Future

import pytest
import torch

from mini_lima.errors import UserError
from mini_lima.files import write_jsonl
from mini_lima.sft.failures import as_user_errors
from mini_lima.sft.order import Order
from tests.sft.attempts import (
    ADAMW,
    SETTINGS,
    Attempt,
    Attempts,
    allow_files_of_a_megabyte,
    allow_no_more_memory,
    on_step,
)


@pytest.fixture(scope="module", autouse=True)
def failing(attempts: Attempts) -> dict[str, Future[Attempt]]:
    long = attempts.data.with_name("long")
    long.mkdir()
    example = {"instruction": "Count.", "input": "", "output": "one " * 2000}
    write_jsonl(long / "examples.jsonl", [{"id": f"long-{k}", **example} for k in range(4)])
    return {
        "diverging": attempts.one(
            optimizer={"type": "AdamW", "params": ADAMW | {"lr": 1e30}}, checkpoint_steps=1
        ),
        "too long": attempts.one(
            meanwhile=(on_step, (0, 0, allow_no_more_memory)), data=long, max_length=10_000
        ),
        "disk full at the end": attempts.one(
            meanwhile=(on_step, (0, 7, allow_files_of_a_megabyte))
        ),
    }


def test_divergence_is_told_with_its_step_examples_and_last_good_checkpoint(
    failing: dict[str, Future[Attempt]],
) -> None:
    run = failing["diverging"].result()
    [said] = run.raised

    # The first two updates have rate 0; the third ruins the weights, which the fourth step sees.
    assert said.startswith("UserError: training diverged at step 4 of 8: loss nan")
    [_, second_of_epoch] = Order(9, 8, SETTINGS["seed"]).global_batches(1)
    assert f"examples: {', '.join(f'number-{i}' for i in second_of_epoch)};" in said
    assert f"of step 3, is {run.work_dir / 'checkpoint-00000003'}" in said


def test_memory_that_runs_out_is_told_with_what_to_change(
    failing: dict[str, Future[Attempt]],
) -> None:
    [said] = failing["too long"].result().raised

    assert said.startswith("UserError: out of memory (")
    assert "model.micro_batch_size_per_gpu=1 (the result stays the same)" in said
    assert "\n" not in said


def test_a_disk_that_is_full_when_the_model_is_saved_is_told(
    failing: dict[str, Future[Attempt]],
) -> None:
    [said] = failing["disk full at the end"].result().raised

    assert said.startswith("UserError: the disk is full (")
    assert said.endswith("make room and run the same command again")


def test_a_gpu_out_of_memory_is_told_in_the_same_words() -> None:
    told = r"^out of memory \(CUDA out of memory. .*\): try "
    with pytest.raises(UserError, match=told), as_user_errors(SETTINGS):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
