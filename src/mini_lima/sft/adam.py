"""What DeepSpeed's Adam for CPUs remembers and no checkpoint holds.

Its C++ keeps the powers of the betas, by which it corrects the moments' bias, and multiplies them
up step by step. A process that goes on from a checkpoint would raise the betas to the power
instead, which rounds differently: equal to seven digits, and not to the last bit.
"""

from typing import Any

import torch
from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam


def remember(optimizer: Any, steps: int) -> None:
    """Bring the memory of ``optimizer`` to where it was after ``steps`` updates.

    Args:
        optimizer: Any; its parameters are not touched. None but DeepSpeed's Adams on a CPU
            remember anything.
        steps: Updates made.
    """
    on_cpu = all(each.device.type == "cpu" for each in optimizer.param_groups[0]["params"])
    if not on_cpu or not isinstance(optimizer, DeepSpeedCPUAdam | FusedAdam):
        return
    group = optimizer.param_groups[0]
    rates = (group["lr"], *group["betas"], group["eps"])
    decay, correction = group["weight_decay"], int(group["bias_correction"])
    gradient, parameter, mean, square = (torch.zeros(1) for _ in range(4))
    for step in range(1, steps + 1):
        if isinstance(optimizer, DeepSpeedCPUAdam):
            tensors = (parameter, gradient, mean, square)
            update = optimizer.ds_opt_adam.adam_update
            update(optimizer.opt_id, step, *rates, decay, correction, *tensors)
        else:
            overflow, mode = optimizer._dummy_overflow_buf, optimizer.adam_w_mode
            lists = [[gradient], [parameter], [mean], [square]]
            update = optimizer.multi_tensor_adam
            update(1, overflow, lists, *rates, step, mode, correction, decay)
