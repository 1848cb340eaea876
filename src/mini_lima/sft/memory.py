"""Memory that a training can do without: what is computed is the same to the last bit.

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
