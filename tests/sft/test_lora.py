"""LoRA under DeepSpeed is what peft does in a plain loop, and what is saved needs no peft."""

from concurrent.futures import Future
from typing import Any

import pytest
import torch
from tests.sft.attempts import EXAMPLES, LORA, OPTIONS, SETTINGS, TINY, Attempt, Attempts
from tests.sft.test_options import conversations, furthest, rate
from transformers import AutoModelForCausalLM

from mini_lima.errors import UserError
from mini_lima.language_model import load_model
from mini_lima.sft import lora
from mini_lima.sft.batches import flatten
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.order import Order

WITHOUT_DROPOUT = LORA | {"dropout": 0.0}
OPTION_AND_PROCESSES = [("zero2_offload", 1), ("zero3", 1), ("zero3", 2)]


@pytest.fixture(scope="module", autouse=True)
def runs(attempts: Attempts) -> dict[tuple[str, int], Future[Attempt]]:
    return {
        (option, processes): attempts.whole(
            processes, adapter=WITHOUT_DROPOUT, deepspeed=OPTIONS[option]
        )
        for option, processes in OPTION_AND_PROCESSES
    }


@pytest.fixture(scope="module")
def plain_loop() -> tuple[list[float], dict[str, torch.Tensor]]:
    """PyTorch and peft alone: the losses, and the merged weights at the end."""
    examples = conversations()
    base: Any = load_model(TINY, None, 0, torch.float32)
    model = lora.added(base, WITHOUT_DROPOUT, SETTINGS["seed"])
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = SETTINGS["optimizer"]
    adam = torch.optim.AdamW(
        trained,
        betas=tuple(optimizer["betas"]),
        eps=optimizer["eps"],
        weight_decay=optimizer["weight_decay"],
    )
    losses = []
    order = Order(len(EXAMPLES), SETTINGS["global_batch_size"], SETTINGS["seed"])
    for epoch in range(SETTINGS["epochs"]):
        for members in order.global_batches(epoch):
            batch = flatten([examples[i] for i in members])
            loss = summed_loss(model, batch) / sum(len(examples[i].response) for i in members)
            losses.append(loss.item())
            adam.param_groups[0]["lr"] = rate(len(losses))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, SETTINGS["gradient_clipping"])
            adam.step()
            adam.zero_grad()
    merged = model.merge_and_unload()
    return losses, {name: each.detach() for name, each in merged.named_parameters()}


@pytest.mark.parametrize(("option", "processes"), OPTION_AND_PROCESSES)
def test_what_is_saved_is_the_merged_model_of_a_plain_loop(
    option: str,
    processes: int,
    runs: dict[Any, Future[Attempt]],
    plain_loop: tuple[list[float], dict[str, torch.Tensor]],
) -> None:
    losses, weights = plain_loop
    run = runs[option, processes].result()

    assert run.codes == [0] * processes, run.raised
    assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-4)
    assert furthest(run.weights, weights) < 5e-5


def test_only_the_target_modules_have_changed_and_by_no_more_than_the_rank(
    runs: dict[Any, Future[Attempt]],
) -> None:
    before: Any = load_model(TINY, None, 0, torch.float32)
    run = runs["zero3", 1].result()
    after: Any = AutoModelForCausalLM.from_pretrained(run.output_dir)

    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        if any(f".{target}.weight" in name for target in LORA["target_modules"]):
            assert 0 < torch.linalg.matrix_rank(new - old, rtol=1e-3) <= LORA["rank"]
        else:
            assert torch.equal(old, new), name


def test_the_card_says_so(runs: dict[Any, Future[Attempt]]) -> None:
    card = (runs["zero3", 1].result().output_dir / "README.md").read_text()

    assert "- LoRA, merged: rank 4, alpha 8, dropout 0.0 on q_proj, v_proj\n" in card


def test_layers_that_the_model_does_not_have_are_named() -> None:
    network = load_model(TINY, None, 0, torch.float32)

    with pytest.raises(UserError, match=r"^adapter.target_modules=\[query\]: the model has no"):
        lora.added(network, LORA | {"target_modules": ["query"]}, 0)
