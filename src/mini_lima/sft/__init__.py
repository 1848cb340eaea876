"""Supervised fine-tuning: DeepSpeed's engine behind transformers' Trainer, in worker processes."""

from pathlib import Path
from typing import Any

from mini_lima import launch
from mini_lima.sft.ops import compiled_ops


def train(
    output_dir: Path,
    *,
    processes: int,
    threads: int | None,
    device: str,
    deepspeed: dict[str, Any],
    **given: Any,
) -> None:
    """Run `mini_lima.sft.training.train` with ``given`` in worker processes on ``device``."""
    ops = compiled_ops(device, offload_optimizer=deepspeed["offload_optimizer"])
    environment = {"DS_ACCELERATOR": device, **ops}
    launch.run(
        "mini_lima.sft.training",
        processes=processes,
        threads=threads,
        environment=environment,
        output_dir=output_dir,
        device=device,
        deepspeed=deepspeed,
        **given,
    )
