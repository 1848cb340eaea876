"""One gradient, however it is computed: padded, flattened, accumulated, and by two processes."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mini_lima.config.sources import ASSETS
from mini_lima.files import write_jsonl
from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation
from mini_lima.sft.attention import attend_per_sequence
from mini_lima.sft.batches import flatten, render
from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.order import balanced
from tests.sft.attempts import Attempt, Attempts, saving_gradients
from tests.sft.padded import assert_same_to_1e_5, gradients, padded_loss

TINY = ASSETS / "qwen-tiny"
SHARED = Batches(micro=2, accumulation=2, processes=2)
TEXTS = [  # of 7, so that one of the micro-batches of two is not full
    ("Name a river.", "The Nile."),
    ("Write a haiku about rain on a tin roof, please.", "Small drums, all night long."),
    ("1+1?", "2"),
    ("List three colours.", "- red\n- green\n- a blue that is nearly violet, at dusk"),
    ("Say it again. " * 12, "Again."),
    ("Count.", "One, two, three, four, five, six, seven, eight, nine, ten. " * 4),
    ("Who wrote this?", "Nobody knows."),
]


ROWS = [
    {"id": str(number), "instruction": question, "input": "", "output": answer}
    for number, (question, answer) in enumerate(TEXTS)
]


@pytest.fixture(scope="module", autouse=True)
def shared(attempts: Attempts, tmp_path_factory: Any) -> dict[str, tuple[Path, Future[Attempt]]]:
    """By two processes that accumulate: the file with the gradients, and the run."""
    folder = tmp_path_factory.mktemp("shared")
    write_jsonl(folder / "examples.jsonl", ROWS)
    runs = {}
    for reduction in ("global_batch", "micro_batch"):
        file = folder / f"{reduction}.safetensors"
        run = attempts.one(
            SHARED.processes,
            meanwhile=(saving_gradients, file),
            data=folder,
            epochs=1,
            micro_batch_size_per_gpu=SHARED.micro,
            loss_reduction=reduction,
        )
        runs[reduction] = (file, run)
    return runs


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    template = ChatTemplate(load_tokenizer(TINY, None))
    return render(ROWS, template, max_length=256, overlong="refuse").conversations


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(TINY, None, 0, torch.float32)


@pytest.fixture(scope="module")
def flattening_model() -> Any:
    made = load_model(TINY, None, 0, torch.float32)
    attend_per_sequence(made, torch.device("cpu"))
    return made


@pytest.fixture(scope="module")
def padded(model: Any, conversations: list[Conversation]) -> dict[str, torch.Tensor]:
    """Of the mean over all supervised tokens, as any textbook has it."""
    return gradients(model, padded_loss(model, conversations) / supervised(conversations))


def given_to_optimizer(run: tuple[Path, Future[Attempt]]) -> dict[str, torch.Tensor]:
    file, ended = run
    assert ended.result().codes == [0, 0], ended.result().raised
    return load_file(file)


def supervised(conversations: list[Conversation]) -> int:
    return sum(len(each.response) for each in conversations)


def test_a_flattened_batch_has_the_gradients_of_a_padded_one(
    flattening_model: Any, conversations: list[Conversation], padded: dict[str, torch.Tensor]
) -> None:
    loss = summed_loss(flattening_model, flatten(conversations)) / supervised(conversations)

    assert_same_to_1e_5(gradients(flattening_model, loss), padded)


def test_accumulated_micro_batches_have_the_gradients_of_a_padded_batch(
    flattening_model: Any, conversations: list[Conversation], padded: dict[str, torch.Tensor]
) -> None:
    flattening_model.zero_grad()
    for part in (conversations[:1], conversations[1:4], [], conversations[4:]):
        loss = summed_loss(flattening_model, flatten(part)) / supervised(conversations)
        loss.backward()

    found = {name: each.grad for name, each in flattening_model.named_parameters()}
    assert_same_to_1e_5(found, padded)


def test_two_accumulating_processes_have_the_gradients_of_a_padded_batch(
    shared: dict[str, Any], padded: dict[str, torch.Tensor]
) -> None:
    assert_same_to_1e_5(given_to_optimizer(shared["global_batch"]), padded)


def test_by_micro_batch_the_gradient_is_the_mean_of_the_micro_batches_means(
    shared: dict[str, Any], model: Any, conversations: list[Conversation]
) -> None:
    parts = [
        [conversations[i] for i in part]
        for part in balanced(range(7), [each.tokens for each in conversations], SHARED)
    ]
    means = [padded_loss(model, part) / supervised(part) for part in parts]
    expected = gradients(model, torch.stack(means).mean())

    assert_same_to_1e_5(given_to_optimizer(shared["micro_batch"]), expected)
