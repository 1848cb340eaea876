"""Attention per sequence, against models that attend over a padded batch with a mask."""

from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from mini_lima.models.rendering import Conversation
from mini_lima.sft.attention import PER_SEQUENCE, attend_per_sequence, per_sequence
from mini_lima.sft.batches import flatten
from mini_lima.sft.loss import summed_loss
from tests.sft.padded import assert_same_to_1e_5, gradients, padded_loss
from tests.sft.test_loss import SIZE, LargestTensor

LENGTHS = [(3, 9), (1, 1), (12, 20), (2, 5)]
CONVERSATIONS = [
    Conversation([i + 1] * p, list(range(i, i + r))) for i, (p, r) in enumerate(LENGTHS)
]
CPU = torch.device("cpu")


def qwen2(**given: Any) -> Any:
    return Qwen2ForCausalLM(Qwen2Config(**SIZE | given))


MODELS = {
    "full": qwen2,
    "a layer with a window": lambda: qwen2(
        use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "windows everywhere": lambda: MistralForCausalLM(MistralConfig(**SIZE, sliding_window=7)),
    "no grouped heads": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZE | {"num_key_value_heads": 2})),
}


@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointed"])
def test_gradients_are_those_of_a_padded_batch(made: Any, checkpointing: bool) -> None:
    model = made()
    padded = padded_loss(model, CONVERSATIONS)
    expected = gradients(model, padded)

    attend_per_sequence(model, CPU)
    if checkpointing:
        model.activation_checkpointing_enable()
        model.train()
    loss = summed_loss(model, flatten(CONVERSATIONS))

    assert model.config._attn_implementation == PER_SEQUENCE
    assert loss.item() == pytest.approx(padded.item(), rel=1e-5)
    assert_same_to_1e_5(gradients(model, loss), expected)


def in_bf16() -> list[torch.Tensor]:
    """Queries, keys and values of 4 and 2 heads, for sequences of 60 and 40 tokens."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, heads, 100, 16, generator=generator).bfloat16().requires_grad_()
        for heads in (4, 2, 2)
    ]


def attended(given: list[torch.Tensor], **more: Any) -> torch.Tensor:
    layer = qwen2().model.layers[0].self_attn
    found, _ = per_sequence(layer, *given, None, sequence_lengths=[60, 40], **more)
    return found


def test_in_bf16_a_processor_loses_nothing_but_the_last_rounding() -> None:
    given = in_bf16()
    exact = [each.detach().float().requires_grad_() for each in given]
    found, expected = attended(given), attended(exact)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).bfloat16()

    assert torch.equal(found, expected.bfloat16())
    for one, other in zip(
        torch.autograd.grad(found, given, upstream),
        torch.autograd.grad(expected, exact, upstream.float()),
        strict=True,
    ):
        assert torch.equal(one, other.bfloat16())


def test_no_tensor_grows_with_the_square_of_the_batch() -> None:
    model = qwen2()
    attend_per_sequence(model, CPU)
    many = [Conversation([1] * 8, [2] * 8)] * 64

    with LargestTensor() as largest:
        summed_loss(model, flatten(many)).backward()

    tokens = 64 * 16
    assert largest.numbers <= tokens * max(SIZE["hidden_size"], SIZE["vocab_size"]) < tokens**2 / 4


def test_a_model_with_attention_of_its_own_keeps_it_and_is_exact_too() -> None:
    model = qwen2(attn_implementation="eager")
    padded = padded_loss(model, CONVERSATIONS)
    expected = gradients(model, padded)

    attend_per_sequence(model, CPU)
    loss = summed_loss(model, flatten(CONVERSATIONS))

    assert model.config._attn_implementation == "eager"
    assert_same_to_1e_5(gradients(model, loss), expected)
