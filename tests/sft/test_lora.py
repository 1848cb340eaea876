"""LoRA under DeepSpeed is what peft does in a plain loop, and what is saved needs no peft."""

from concurrent.futures import Future
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mini_lima.errors import UserError
from mini_lima.models.language_model import load_model
from mini_lima.sft import lora
from tests.sft.attempts import LORA, OPTIONS, TINY, Attempt, Attempts
from tests.sft.by_hand import Trained, furthest, plain_loop

WITHOUT_DROPOUT = LORA | {"dropout": 0.0}
OPTION_AND_PROCESSES = [("zero2_offload", 1), ("zero3", 2)]


@pytest.fixture(scope="module", autouse=True)
def runs(attempts: Attempts) -> dict[tuple[str, int], Future[Attempt]]:
    return {
        (option, processes): attempts.whole(
            processes, adapter=WITHOUT_DROPOUT, deepspeed=OPTIONS[option]
        )
        for option, processes in OPTION_AND_PROCESSES
    }


@pytest.fixture(scope="module")
def by_hand() -> Trained:
    return plain_loop(adapter=WITHOUT_DROPOUT)


@pytest.mark.parametrize(("option", "processes"), OPTION_AND_PROCESSES)
def test_what_is_saved_is_the_merged_model_of_a_plain_loop(
    option: str,
    processes: int,
    runs: dict[Any, Future[Attempt]],
    by_hand: Trained,
) -> None:
    losses, weights = by_hand
    run = runs[option, processes].result()

    assert run.codes == [0] * processes, run.raised
    assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-4)
    assert furthest(run.weights, weights) < 5e-5


def test_only_the_target_modules_have_changed_and_by_no_more_than_the_rank(
    runs: dict[Any, Future[Attempt]],
) -> None:
    before: Any = load_model(TINY, None, 0, torch.float32)
    run = runs["zero3", 2].result()
    after: Any = AutoModelForCausalLM.from_pretrained(run.output_dir)

    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        if any(f".{target}.weight" in name for target in LORA["target_modules"]):
            assert 0 < torch.linalg.matrix_rank(new - old, rtol=1e-3) <= LORA["rank"]
        else:
            assert torch.equal(old, new), name


def test_layers_that_the_model_does_not_have_are_named() -> None:
    network = load_model(TINY, None, 0, torch.float32)

    with pytest.raises(UserError, match=r"^adapter.target_modules=\[query\]: the model has no"):
        lora.added(network, LORA | {"target_modules": ["query"]}, 0)
