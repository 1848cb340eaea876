"""Try an optimizer or a scheduler that is not DeepSpeed's on a few numbers, before it is used.

    python -m mini_lima.sft.trial QUESTION

The question is JSON: ``optimizer`` and ``scheduler``, each a `mini_lima.sft.optimizers.Choice`, and
their ``place``. So is the answer, the last line that is printed: the two as they were found, or the
``fault`` in one line.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch.optim.lr_scheduler import LRScheduler

from mini_lima.errors import UserError
from mini_lima.sft.optimizers import (
    OPTIMIZER,
    SCHEDULER,
    STATE_AT_ONCE,
    Choice,
    Place,
    found,
    make_optimizer,
    make_scheduler,
)

Result = TypeVar("Result")
STEPS = 3
SHAPES = ((3, 4), (5,))


class FailedHere(UserError):  # noqa: N818 - it reads as the sentence it stands for
    """What is tried fails on this machine."""


def tried(optimizer: Choice, scheduler: Choice, place: Place) -> dict[str, Any]:
    """Return both as they were found.

    What is for a GPU is tried on one. Where there is none (on the login node of a cluster) it is
    tried all the same, and what may fail for want of a GPU is let pass.

    Raises:
        UserError: one of them is not what it must be.
    """
    optimizer, scheduler = found(OPTIMIZER, optimizer), found(SCHEDULER, scheduler)
    device = "cpu" if place.offload else place.device
    there = device == "cpu" or torch.cuda.is_available()
    torch.set_default_device(device if there else "cpu")
    try:
        if optimizer.target:
            _try_optimizer(optimizer, place)
        if scheduler.target:
            _try_scheduler(scheduler, optimizer)
    except FailedHere:
        if there:
            raise
    return {OPTIMIZER: asdict(optimizer), SCHEDULER: asdict(scheduler)}


def _try_optimizer(choice: Choice, place: Place) -> None:
    where = f"optimizer._target_={choice.target}"
    sharded = place.zero_stage > 0
    separate, flat = [torch.Size(each) for each in SHAPES], [torch.Size([17])]

    def steps(shapes: list[torch.Size]) -> torch.Tensor:
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        made = make_optimizer(choice, parameters)
        if not isinstance(made, torch.optim.Optimizer):
            raise UserError(
                f"{where}: must return a torch.optim.Optimizer, not a {type(made).__name__}"
            )
        if made.state and place.resumes_lazy_state:
            raise UserError(f"{where}: {STATE_AT_ONCE}")
        draw = torch.Generator(torch.get_default_device()).manual_seed(0)
        torch.manual_seed(0)
        for _ in range(STEPS):
            # The second tensor's gradients are much larger: norms of tensors would be noticed.
            numbers = torch.randn(17, generator=draw) * torch.tensor([0.1] * 12 + [10.0] * 5)
            parts = torch.split(numbers, [shape.numel() for shape in shapes])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone()
            made.step()
        return torch.cat([each.detach().flatten() for each in parameters])

    alone = _said(where, lambda: steps(flat if sharded else separate))
    if sharded and not torch.allclose(alone, _said(where, lambda: steps(separate)), rtol=1e-3):
        raise UserError(
            f"{where}: it looks at whole tensors, and ZeRO lays all of them end to end: choose"
            " deepspeed=zero0 (with sft.precision=fp32), or an optimizer that treats each number"
            " by itself"
        )


def _try_scheduler(choice: Choice, optimizer: Choice) -> None:
    where = f"scheduler._target_={choice.target}"
    parameter = torch.nn.Parameter(torch.zeros(2))
    if optimizer.target:
        rated = make_optimizer(optimizer, [parameter])
    else:
        standing_in = torch.optim.SGD if optimizer.type == "SGD" else torch.optim.AdamW
        rated = standing_in([parameter], lr=optimizer.params["lr"])
    made = _said(where, lambda: make_scheduler(choice, rated, 10))
    if not isinstance(made, LRScheduler):
        raise UserError(
            f"{where}: must return a torch.optim.lr_scheduler.LRScheduler, not a"
            f" {type(made).__name__}"
        )
    parameter.grad = torch.ones(2)
    rated.step()
    _said(where, made.step)


def _said(where: str, call: Callable[[], Result]) -> Result:
    """Call, and say in one line what goes wrong."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        # A value or a call that is wrong is so everywhere; anything else may be for want of a GPU.
        kind = UserError if isinstance(error, ValueError | TypeError) else FailedHere
        raise kind(f"{where}: {type(error).__name__}: {reason}") from error


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    try:
        answer = tried(
            Choice(**question[OPTIMIZER]),
            Choice(**question[SCHEDULER]),
            Place(**question["place"]),
        )
    except UserError as error:
        answer = {"fault": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
