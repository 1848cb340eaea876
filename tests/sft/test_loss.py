"""The flattened loss; and the head and its cross entropy in one, against PyTorch's two."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from mini_lima.config.sources import ASSETS
from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation
from mini_lima.sft import loss as sft_loss
from mini_lima.sft.batches import flatten
from mini_lima.sft.loss import CrossEntropy, summed_loss
from tests.sft.padded import assert_same_to_1e_5, gradients, padded_loss

POSITIONS, WIDTH, VOCABULARY = 37, 16, 211
CONVERSATIONS = [Conversation([3, 4, 5], [6, 7, 8, 9]), Conversation([10, 11], [12, 13])]


class LargestTensor(TorchDispatchMode):
    """Notes the most numbers of any tensor that an operation has made; views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        known = {each.untyped_storage().data_ptr() for each in tensors(args)}
        for each in tensors(found):
            if each.untyped_storage().data_ptr() not in known:
                self.numbers = max(self.numbers, each.numel())
        return found


def tensors(value: Any) -> list[torch.Tensor]:
    return [each for each in tree_leaves(value) if isinstance(each, torch.Tensor)]


def drawn(*shape: int, seed: int) -> torch.Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return numbers.requires_grad_()


@pytest.mark.parametrize("rows_at_once", [1, 5, POSITIONS])
@pytest.mark.parametrize("rows_in_cache", [1, 3, POSITIONS])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_pytorchs_cross_entropy_whatever_the_chunks(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int, rows_in_cache: int, with_bias: bool
) -> None:
    monkeypatch.setattr(sft_loss, "IN_CACHE", rows_in_cache * VOCABULARY)
    inputs = [drawn(POSITIONS, WIDTH, seed=0), drawn(VOCABULARY, WIDTH, seed=1)]
    inputs += [drawn(VOCABULARY, seed=2)] if with_bias else []
    bias = inputs[2] if with_bias else None
    targets = torch.randint(VOCABULARY, (POSITIONS,))
    expected = cross_entropy(linear(inputs[0], inputs[1], bias), targets, reduction="sum")

    found = CrossEntropy.apply(inputs[0], inputs[1], bias, targets, rows_at_once * VOCABULARY)

    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(expected * 0.25, inputs)
    for gradient, each in zip(torch.autograd.grad(found * 0.25, inputs), wanted, strict=True):
        torch.testing.assert_close(gradient, each, rtol=1e-5, atol=1e-6)


def test_no_more_logits_than_a_chunk_exist_at_a_time() -> None:
    hidden, weight = drawn(POSITIONS, WIDTH, seed=0), drawn(VOCABULARY, WIDTH, seed=1)
    chunk = 18 * VOCABULARY  # more than the weight's own gradient

    with LargestTensor() as largest:
        CrossEntropy.apply(hidden, weight, None, torch.arange(POSITIONS), chunk).backward()

    assert weight.numel() <= largest.numbers <= chunk


SIZE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.parametrize(
    "model",
    [
        GraniteForCausalLM(GraniteConfig(**SIZE, logits_scaling=8.0)),
        Gemma2ForCausalLM(Gemma2Config(**SIZE, head_dim=16, final_logit_softcapping=0.1)),
    ],
    ids=["divides its logits", "bends its logits"],
)
def test_a_model_that_goes_on_computing_with_its_logits_is_given_its_way(model: Any) -> None:
    padded = padded_loss(model, CONVERSATIONS)
    expected = gradients(model, padded)

    for batch in (flatten([]), flatten(CONVERSATIONS), flatten(CONVERSATIONS)):
        loss = summed_loss(model, batch)

    assert loss.item() == pytest.approx(padded.item(), rel=1e-5)
    assert_same_to_1e_5(gradients(model, loss), expected)


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
