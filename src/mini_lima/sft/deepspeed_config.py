"""DeepSpeed's own JSON configuration: every value given, none left for a library to fill in."""

from dataclasses import dataclass
from typing import Any

from mini_lima.sft.optimizers import HIGHEST_RATE, OPTIMIZERS, WHOLE_TRAINING, Choice

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
    optimizer: Choice,
    scheduler: Choice,
    total_steps: int,
    zero: dict[str, Any],
    batches: Batches,
    precision: str,
    gradient_clipping: float,
    device: str,
) -> dict[str, Any]:
    """Return the configuration.

    Args:
        optimizer: One that is not DeepSpeed's is left out: Trainer makes it.
        scheduler: The same. A ``warmup_max_lr`` is the optimizer's ``lr``, since DeepSpeed's
            schedulers replace the optimizer's rate with their own.
        total_steps: Optimizer steps of the whole training.
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
    config = {
        "train_micro_batch_size_per_gpu": batches.micro,
        "gradient_accumulation_steps": batches.accumulation,
        "train_batch_size": batches.micro * batches.accumulation * batches.processes,
        "gradient_clipping": gradient_clipping,
        "zero_optimization": sharding,
        # Without ZeRO-2 or 3 every gradient would lie about in bf16 beside its float32 sum.
        "bf16": {"enabled": precision == "bf16", "immediate_grad_update": True},
        # Micro-batches' gradients would otherwise be added up in bf16, 8 bits of mantissa.
        "data_types": {"grad_accum_dtype": "fp32"},
    }
    if optimizer.type:
        told = dict(optimizer.params)
        if optimizer.is_torchs_adam(offload=zero["offload_optimizer"]):
            told |= {"torch_adam": True, "fused": True}  # unfused, it makes copies of all gradients
        config["optimizer"] = {"type": optimizer.type, "params": told}
    if optimizer.type is None or not OPTIMIZERS[optimizer.type].tested:
        config["zero_allow_untested_optimizer"] = True
    if optimizer.type is None and zero["offload_optimizer"]:
        config["zero_force_ds_cpu_optimizer"] = False  # it would put one of its own in its place
    if scheduler.type:
        params = dict(scheduler.params)
        if scheduler.type in HIGHEST_RATE:
            params["warmup_max_lr"] = optimizer.params["lr"]
        if scheduler.type in WHOLE_TRAINING:
            params["total_num_steps"] = total_steps
        config["scheduler"] = {"type": scheduler.type, "params": params}
    return config
