"""Optimizers and schedulers of a user's own; for test_optimizers.py."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class Signs(torch.optim.Optimizer):
    """Follows the sign of a running mean of the gradients."""

    def __init__(self, params: Any, lr: float, memory: float) -> None:
        super().__init__(params, {"lr": lr, "memory": memory})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for each in group["params"]:
                if each.grad is not None:
                    mean = self.state[each].setdefault("mean", torch.zeros_like(each))
                    mean.lerp_(each.grad, 1 - group["memory"])
                    each.add_(mean.sign(), alpha=-group["lr"])


def signs(
    params: Any, *, lr: float, memory: Annotated[float, Gt(0)] = 0.9
) -> torch.optim.Optimizer:
    return Signs(params, lr, memory)


def normed(params: Any, *, lr: float) -> torch.optim.Optimizer:
    """Looks at whole tensors, as ZeRO does not let it."""

    class Normed(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for each in group["params"]:
                    each.grad /= each.grad.norm()
            super().step()

    return Normed(params, lr=lr)


def nothing(params: Any, *, lr: float) -> int:
    return 0


def halving(optimizer: torch.optim.Optimizer, *, total_steps: int, times: int) -> LRScheduler:
    return LambdaLR(optimizer, lambda step: 0.5 ** (times * step // total_steps))
