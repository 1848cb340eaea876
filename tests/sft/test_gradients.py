"""One gradient, however it is computed: padded, flattened, accumulated, and by two processes."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.sft.padded import assert_same_to_1e_5, gradients, padded_loss

from mini_lima import launch
from mini_lima.language_model import load_model, load_tokenizer
from mini_lima.rendering import ChatTemplate, Conversation
from mini_lima.sft.attention import attend_per_sequence
from mini_lima.sft.batches import flatten
from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.ops import compiled_ops
from mini_lima.sft.order import balanced
from mini_lima.sources import ASSETS

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


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    template = ChatTemplate(load_tokenizer(TINY, None))
    return [template.conversation(question, "", answer) for question, answer in TEXTS]


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


@pytest.fixture(scope="module")
def two_processes(conversations: list[Conversation], tmp_path_factory: Any) -> Path:
    """The folder of what DeepSpeed gave its optimizer; see gradient_job.py."""
    folder = tmp_path_factory.mktemp("gradients")
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    compiled = compiled_ops("cpu", offload_optimizer=True)
    launch.run(
        "gradient_job",
        processes=SHARED.processes,
        threads=1,
        environment={"DS_ACCELERATOR": "cpu", **compiled, "PYTHONPATH": os.pathsep.join(paths)},
        output_dir=folder,
        model=str(TINY),
        batches=asdict(SHARED),
        data=[[each.prompt, each.response] for each in conversations],
    )
    return folder


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
    two_processes: Path, padded: dict[str, torch.Tensor]
) -> None:
    assert_same_to_1e_5(load_file(two_processes / "global_batch.safetensors"), padded)


def test_by_micro_batch_the_gradient_is_the_mean_of_the_micro_batches_means(
    two_processes: Path, model: Any, conversations: list[Conversation]
) -> None:
    parts = [
        [conversations[i] for i in part]
        for part in balanced(range(7), [each.tokens for each in conversations], SHARED)
    ]
    means = [padded_loss(model, part) / supervised(part) for part in parts]
    expected = gradients(model, torch.stack(means).mean())

    assert_same_to_1e_5(load_file(two_processes / "micro_batch.safetensors"), expected)
