"""Memory that a training can do without: what is computed is the same to the last bit.

`skip_gradient_copies`: In a process that trains alone there is nothing to add up over processes:
DeepSpeed copies every gradient into a buffer for that, and back, all the same. And in bf16 without
ZeRO-2 it turns each gradient into float32 as a whole before it adds it to its float32 sum: for the
embedding of Qwen1.5-0.5B that is 0.6 GB of new memory at every step.

`replace_norms`: transformers writes RMSNorm out in operations, of which two keep a tensor each for
the backward pass: in bf16, that is three times what came in. Here it is one operation, which keeps
what it was given, and no float32 copies of it.

`KeepMemory`: The C library gives memory that a training on a processor frees back to the kernel.
Every large tensor is then made of new pages, a tenth of all processor time of a small model with a
large vocabulary.
"""

import ctypes
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from deepspeed import DeepSpeedEngine
from deepspeed.runtime.bf16_optimizer import BF16_Optimizer
from torch import Tensor
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h
NEVER, NONE = -1, 0
PIECE = 2**20
"""Elements that are turned into float32 at a time: they stay in a processor's cache."""


def skip_gradient_copies(engine: DeepSpeedEngine, processes: int) -> None:
    """Have ``engine``, one of ``processes``, do without; to be called before its first backward pass.

    It may be called again.
    """
    optimizer = engine.optimizer
    in_bf16 = isinstance(optimizer, BF16_Optimizer)
    if processes == 1 and (in_bf16 or engine.zero_optimization_stage() == 0):
        engine.enable_backward_allreduce = False
    if in_bf16 and optimizer.autoep_folding_tp_group is None:

        def add_up(parameter: Tensor, group: int, index: int, clear_lp_grads: bool) -> None:
            """`BF16_Optimizer._update_hp_grad`, with its arguments."""
            if parameter.grad is None:
                return
            total = optimizer.fp32_groups_gradients[group][index]
            _add(total, parameter.grad)
            parameter._hp_grad = total  # type: ignore[attr-defined]
            optimizer.fp32_groups_has_gradients[group][index] = True
            if clear_lp_grads:
                parameter.grad.zero_()

        optimizer._update_hp_grad = add_up


@torch.no_grad()
def _add(total: Tensor, gradient: Tensor) -> None:
    pieces = (torch.split(each.reshape(-1), PIECE) for each in (total, gradient))
    for some, added in zip(*pieces, strict=True):
        some += added


def replace_norms(network: PreTrainedModel) -> None:
    """Have every norm of ``network`` that is a plain RMSNorm keep its input alone."""
    for norm in _plain_norms(network):
        norm.forward = partial(_normalized, norm)


class RMSNorm(torch.autograd.Function):
    """weight · hidden ÷ root mean square(hidden), of which float32 is not kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return it in the number format of ``hidden``.

        Args:
            ctx: Keeps the input.
            hidden: Of shape (…, width).
            weight: Of shape (width,).
            epsilon: Added to the mean of the squares.
        """
        exact = hidden.float()
        scale = torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(hidden, weight, scale)
        return weight * (exact * scale).to(hidden.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by ``hidden`` and ``weight``."""
        hidden, weight, scale = ctx.saved_tensors
        normal = hidden.float() * scale
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (gradient * normal.to(hidden.dtype)).flatten(0, -2).sum(0)
        of_normal = (gradient * weight).float()
        along = (of_normal * normal).mean(-1, keepdim=True)
        of_hidden = of_normal.sub_(normal.mul_(along)).mul_(scale)
        return of_hidden.to(hidden.dtype), of_weight, None


def _normalized(norm: Any, hidden: Tensor) -> Tensor:
    found: Tensor = RMSNorm.apply(  # type: ignore[no-untyped-call]
        hidden, norm.weight, norm.variance_epsilon
    )
    return found


@torch.no_grad()
def _plain_norms(network: PreTrainedModel) -> Iterator[torch.nn.Module]:
    """The norms that do what `RMSNorm` does: Gemma's, for one, multiplies by 1 + weight."""
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            assert isinstance(weight, Tensor)
            probe = torch.linspace(-3, 5, 2 * len(weight)).to(weight).view(2, -1)
            if torch.equal(module(probe), _normalized(module, probe)):
                yield module


class KeepMemory(TrainerCallback):
    """Keeps freed memory from the first step on; what loading the model has left is given back."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Tell glibc, where tensors are in its memory."""
        if args.device.type == "cpu" and sys.platform == "linux":
            libc = ctypes.CDLL(None)
            libc.malloc_trim(0)
            libc.mallopt(TRIM_THRESHOLD, NEVER)
            libc.mallopt(MMAP_MAX, NONE)
