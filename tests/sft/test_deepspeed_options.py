"""Every option of DeepSpeed that is offered, in one and in two processes, is the same training."""

from concurrent.futures import Future
from typing import Any

import pytest
import torch
from tests.sft.attempts import OPTIONS, Attempt, Attempts, without_deepspeed
from tests.sft.by_hand import Trained, furthest, mean_distance, plain_loop
from tests.sft.test_deepspeed_config import SHARDING
from transformers import AutoModelForCausalLM

IN_FP32 = [(option, processes) for option in OPTIONS for processes in (1, 2)]
IN_BF16 = [(option, 1) for option in OPTIONS if option != "zero0"]


@pytest.fixture(scope="module", autouse=True)
def runs(attempts: Attempts) -> dict[tuple[str, str, int], Future[Attempt]]:
    in_bf16 = {"precision": "bf16", "micro_batch_size_per_gpu": 1}
    return {
        ("fp32", option, n): attempts.whole(n, deepspeed=OPTIONS[option]) for option, n in IN_FP32
    } | {
        ("bf16", option, n): attempts.whole(n, deepspeed=OPTIONS[option], **in_bf16)
        for option, n in IN_BF16
    }


def test_every_option_of_the_group_is_tried_here() -> None:
    assert OPTIONS.keys() == SHARDING.keys()


@pytest.fixture(scope="module")
def in_fp32() -> Trained:
    return plain_loop()


@pytest.fixture(scope="module")
def added_up_in() -> dict[torch.dtype, Trained]:
    formats = (torch.float32, torch.bfloat16)
    return {each: plain_loop(torch.bfloat16, added_up_in=each) for each in formats}


@pytest.mark.parametrize(("option", "processes"), IN_FP32)
def test_an_option_changes_nothing_about_the_training(
    option: str, processes: int, runs: dict[Any, Future[Attempt]], in_fp32: Trained
) -> None:
    losses, weights = in_fp32
    run = runs["fp32", option, processes].result()

    assert run.codes == [0] * processes, run.raised
    assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-4)
    # PyTorch's norm of the gradient, by which it is clipped, is a float32 sum: good to 1e-4.
    assert furthest(run.weights, weights) < 5e-5


@pytest.mark.parametrize(("option", "processes"), IN_BF16)
def test_in_bf16_the_gradients_of_the_micro_batches_are_added_up_in_fp32(
    option: str,
    processes: int,
    runs: dict[Any, Future[Attempt]],
    added_up_in: dict[torch.dtype, Trained],
) -> None:
    losses, exactly = added_up_in[torch.float32]
    _, rounded = added_up_in[torch.bfloat16]
    run = runs["bf16", option, processes].result()

    assert run.codes == [0] * processes, run.raised
    assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-3)
    # Not equal either way: each passes through its own roundings to bf16. It is 0.43 to 0.6 here.
    assert mean_distance(run.weights, exactly) < 0.85 * mean_distance(run.weights, rounded)


@pytest.mark.parametrize("option", ["zero0", "zero3_offload"])
def test_what_is_saved_is_whole_under_every_option(
    option: str, runs: dict[Any, Future[Attempt]]
) -> None:
    run = runs["fp32", option, 1].result()
    model = AutoModelForCausalLM.from_pretrained(run.output_dir)

    for key, tensor in run.weights.items():
        assert torch.equal(model.get_parameter(key), tensor)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_data_parallelism_without_deepspeed_is_refused_at_the_start(attempts: Attempts) -> None:
    run = attempts.one(meanwhile=(without_deepspeed, None)).result()

    assert run.codes == [1]
    assert run.raised[0].startswith("RuntimeError: DeepSpeed was asked for, but ")
