"""DeepSpeed's own JSON configuration: every value given, none left for a library to fill in."""

from dataclasses import dataclass
from typing import Any

BUCKET = 50_000_000
"""Elements that are reduced or gathered at once. A buffer for as many float32 gradients lies in the
device's memory: DeepSpeed's own 500 million would take 2 GB of a card to save a few calls."""


@dataclass(frozen=True)
class Batches:
    """How a global batch is divided.

    Attributes:
        micro: Examples per forward pass on one device.
        accumulation: Forward passes per optimizer step.
        processes: Devices.
    """

    micro: int
    accumulation: int
    processes: int


def deepspeed_config(
    *,
    optimizer: dict[str, Any],
    zero: dict[str, Any],
    batches: Batches,
    precision: str,
    gradient_clipping: float,
    device: str,
) -> dict[str, Any]:
    """Return the configuration.

    Args:
        optimizer: The fields of the optimizer group; WarmupLR's ``warmup_max_lr`` is its ``lr``,
            since DeepSpeed's scheduler replaces the optimizer's rate with its own.
        zero: The fields of the deepspeed group.
        batches: Division of the global batch.
        precision: ``fp32`` or ``bf16``.
        gradient_clipping: Largest norm of the gradient.
        device: ``cpu`` or ``cuda``.
    """
    in_host_memory = {"device": "cpu", "pin_memory": device == "cuda"}
    sharding: dict[str, Any] = {
        "stage": zero["zero_stage"],
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
    }
    if zero["offload_optimizer"]:
        sharding["offload_optimizer"] = in_host_memory
    if zero["offload_parameters"]:
        sharding["offload_param"] = in_host_memory
    if zero["zero_stage"] == 3:
        sharding["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "train_micro_batch_size_per_gpu": batches.micro,
        "gradient_accumulation_steps": batches.accumulation,
        "train_batch_size": batches.micro * batches.accumulation * batches.processes,
        "gradient_clipping": gradient_clipping,
        "zero_optimization": sharding,
        # Without ZeRO-2 or 3 every gradient would lie about in bf16 beside its float32 sum.
        "bf16": {"enabled": precision == "bf16", "immediate_grad_update": True},
        # Micro-batches' gradients would otherwise be added up in bf16, 8 bits of mantissa.
        "data_types": {"grad_accum_dtype": "fp32"},
        "optimizer": {
            "type": "AdamW",
            "params": {key: optimizer[key] for key in ("lr", "betas", "eps", "weight_decay")},
        },
        "scheduler": {
            "type": "WarmupLR",
            "params": {
                "warmup_min_lr": optimizer["warmup_min_lr"],
                "warmup_max_lr": optimizer["lr"],
                "warmup_num_steps": optimizer["warmup_num_steps"],
                "warmup_type": optimizer["warmup_type"],
            },
        },
    }
