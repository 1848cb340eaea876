"""RMSNorm as one operation, against that of transformers; memory that a processor frees."""

from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from mini_lima.sft.memory import RMSNorm, replace_norms
from tests.sft.padded import assert_same_to_1e_5, gradients, padded_loss
from tests.sft.test_attention import CONVERSATIONS, qwen2
from tests.sft.test_loss import SIZE

WIDTH = 48


def qwen3() -> Any:
    """With norms of each head's queries and keys."""
    return Qwen3ForCausalLM(Qwen3Config(**SIZE, head_dim=16))


@pytest.mark.parametrize("made", [qwen2, qwen3])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointed"])
def test_a_models_gradients_stay_the_same(made: Any, checkpointing: bool) -> None:
    model = made()
    loss = padded_loss(model, CONVERSATIONS)
    expected = gradients(model, loss)

    replace_norms(model)
    if checkpointing:
        model.activation_checkpointing_enable()
        model.train()
    found = padded_loss(model, CONVERSATIONS)

    assert torch.equal(found, loss)
    assert_same_to_1e_5(gradients(model, found), expected)


def norm_and_input(number: torch.dtype) -> tuple[Qwen2RMSNorm, torch.Tensor, torch.Tensor]:
    """A norm with weights of its own, an input, and the gradient of what it returns."""
    generator = torch.Generator().manual_seed(0)
    norm = Qwen2RMSNorm(WIDTH, eps=1e-6)
    with torch.no_grad():
        norm.weight.normal_(1, 0.5, generator=generator)
    hidden, upstream = torch.randn(2, 3, 20, WIDTH, generator=generator)
    return norm.to(number), hidden.to(number).requires_grad_(), upstream.to(number)


def test_in_bf16_its_gradients_are_no_less_precise() -> None:
    norm, hidden, upstream = norm_and_input(torch.bfloat16)
    wanted = [hidden, norm.weight]
    theirs = norm(hidden)
    ours = RMSNorm.apply(hidden, norm.weight, norm.variance_epsilon)
    exact = [each.detach().double().requires_grad_() for each in wanted]
    whole = exact[1] * exact[0] * torch.rsqrt(exact[0].pow(2).mean(-1, keepdim=True) + 1e-6)

    assert torch.equal(ours, theirs)
    for gradient, reference, true in zip(
        torch.autograd.grad(ours, wanted, upstream),
        torch.autograd.grad(theirs, wanted, upstream),
        torch.autograd.grad(whole, exact, upstream.double()),
        strict=True,
    ):
        assert gradient.dtype is torch.bfloat16
        assert (gradient - true).norm() <= 1.01 * (reference - true).norm() < 0.01 * true.norm()
