"""The flattened loss against the textbook one: a padded batch, a mask, and logits everywhere."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.sft.padded import assert_same_to_1e_5, gradients, padded_loss

from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation
from mini_lima.sft.batches import flatten
from mini_lima.sft.loss import summed_loss
from mini_lima.sources import ASSETS

TEXTS = [
    ("Name a river.", "The Nile."),
    ("Write a haiku about rain on a tin roof, please.", "Small drums, all night long."),
    ("1+1?", "2"),
    ("List three colours.", "- red\n- green\n- a blue that is nearly violet, at dusk"),
]


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    template = ChatTemplate(load_tokenizer(ASSETS / "qwen-tiny", None))
    return [template.conversation(question, "", answer) for question, answer in TEXTS]


@pytest.fixture
def model() -> Any:
    return load_model(ASSETS / "qwen-tiny", None, 0, torch.float32)


def test_loss_and_gradients_are_those_of_a_padded_batch_with_all_logits(
    model: Any, conversations: list[Conversation]
) -> None:
    flat, padded = summed_loss(model, flatten(conversations)), padded_loss(model, conversations)

    assert flat.item() == pytest.approx(padded.item(), rel=1e-5)
    assert_same_to_1e_5(gradients(model, flat), gradients(model, padded))


def test_micro_batches_add_up_to_the_whole_batch(
    model: Any, conversations: list[Conversation]
) -> None:
    whole = summed_loss(model, flatten(conversations))
    parts = [conversations[:1], conversations[1:], []]
    together = torch.stack([summed_loss(model, flatten(part)) for part in parts]).sum()

    assert together.item() == pytest.approx(whole.item(), rel=1e-5)
    assert_same_to_1e_5(gradients(model, together), gradients(model, whole))


def test_a_batch_without_anything_supervised_has_loss_0_and_moves_nothing(model: Any) -> None:
    loss = summed_loss(model, flatten([]))

    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


def test_one_conversation_does_not_see_another(
    model: Any, conversations: list[Conversation]
) -> None:
    def logits_of_last(before: Sequence[Conversation]) -> torch.Tensor:
        batch = flatten([*before, conversations[-1]])
        del batch["labels"]
        length = len(conversations[-1].prompt) + len(conversations[-1].response)
        return model(**batch, use_cache=False).logits[0, -length:]

    alone = logits_of_last([])
    for before in (conversations[:1], conversations[1:3]):
        torch.testing.assert_close(logits_of_last(before), alone, rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_bf16_model_is_summed_in_float32(conversations: list[Conversation]) -> None:
    half = load_model(ASSETS / "qwen-tiny", None, 0, torch.bfloat16)

    assert summed_loss(half, flatten(conversations)).dtype == torch.float32
