"""What DeepSpeed is spared changes no bit of what it adds up."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepspeed.runtime.bf16_optimizer import BF16_Optimizer

from mini_lima.sft import memory
from mini_lima.sft.memory import skip_gradient_copies

SHAPE = (13, 5)


def in_bf16() -> BF16_Optimizer:
    """DeepSpeed's optimizer, so far as it adds up the gradients of one parameter."""
    optimizer: BF16_Optimizer = object.__new__(BF16_Optimizer)
    optimizer.autoep_folding_tp_group = None
    optimizer.fp32_groups_gradients = [[torch.zeros(SHAPE)]]
    optimizer.fp32_groups_has_gradients = [[False]]
    return optimizer


def engine(optimizer: Any, stage: int) -> Any:
    return SimpleNamespace(
        optimizer=optimizer, zero_optimization_stage=lambda: stage, enable_backward_allreduce=True
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_are_added_up_as_deepspeed_adds_them(
    monkeypatch: pytest.MonkeyPatch, transposed: bool
) -> None:
    monkeypatch.setattr(memory, "PIECE", 7)
    theirs, ours = in_bf16(), in_bf16()
    skip_gradient_copies(engine(ours, 1), processes=2)
    for optimizer in (theirs, ours):
        generator = torch.Generator().manual_seed(0)
        parameter = torch.nn.Parameter(torch.zeros(SHAPE, dtype=torch.bfloat16))
        for _ in range(4):
            drawn = torch.randn(
                SHAPE[::-1] if transposed else SHAPE, generator=generator
            ).bfloat16()
            parameter.grad = drawn.T if transposed else drawn
            optimizer._update_hp_grad(parameter, 0, 0, clear_lp_grads=False)
        assert parameter._hp_grad is optimizer.fp32_groups_gradients[0][0]
        assert optimizer.fp32_groups_has_gradients == [[True]]

    [[expected]], [[found]] = theirs.fp32_groups_gradients, ours.fp32_groups_gradients
    assert torch.equal(found, expected)
    assert found.abs().sum() > 0


def test_a_parameter_without_a_gradient_adds_nothing() -> None:
    optimizer = in_bf16()
    skip_gradient_copies(engine(optimizer, 1), processes=1)
    optimizer._update_hp_grad(torch.nn.Parameter(torch.zeros(SHAPE)), 0, 0, clear_lp_grads=False)
    assert optimizer.fp32_groups_has_gradients == [[False]]


@pytest.mark.parametrize(
    ("optimizer", "stage", "processes", "reduces"),
    [
        (None, 0, 1, False),
        (None, 0, 2, True),
        (in_bf16(), 1, 1, False),
        (in_bf16(), 1, 2, True),
        (None, 1, 1, True),  # in fp32, ZeRO adds up where it also makes its partitions
        (None, 2, 1, True),
    ],
)
def test_gradients_are_reduced_where_somebody_else_has_some(
    optimizer: Any, stage: int, processes: int, reduces: bool
) -> None:
    found = engine(optimizer, stage)
    for _ in range(2):
        skip_gradient_copies(found, processes)
    assert found.enable_backward_allreduce is reduces
