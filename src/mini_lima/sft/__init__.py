"""Supervised fine-tuning: DeepSpeed's engine behind transformers' Trainer, in worker processes."""

from pathlib import Path
from typing import Any

from mini_lima.sft import checkpoints
from mini_lima.sft.checkpoints import Launch
from mini_lima.sft.failures import less_memory
from mini_lima.sft.ops import compiled_ops
from mini_lima.sft.optimizers import Choice
from mini_lima.workers import launch
from mini_lima.workers.launch import Nodes, WorkerKilled, process_count


def train(
    output_dir: Path,
    *,
    work_dir: Path,
    processes: int | str,
    threads: int | None,
    nodes: int,
    rendezvous: str | None,
    starter: str | None,
    device: str,
    optimizer: dict[str, Any],
    deepspeed: dict[str, Any],
    **given: Any,
) -> None:
    """Run `mini_lima.sft.training.train` with ``given`` in worker processes on ``device``.

    It goes on from the last checkpoint that an earlier attempt left in ``work_dir``.
    """
    each = process_count(processes, device)
    if found := checkpoints.last(work_dir, content=True):
        checkpoints.refuse_other_launch(found, Launch(each * nodes, device))
    offload = deepspeed["offload_optimizer"]
    environment = surroundings(device, Choice(**optimizer), offload_optimizer=offload)
    settings = {**given, "device": device, "optimizer": optimizer, "deepspeed": deepspeed}
    try:
        launch.run(
            "mini_lima.sft.training",
            processes=each,
            threads=threads,
            nodes=Nodes(nodes, rendezvous, starter, work_dir),
            environment=environment,
            output_dir=output_dir,
            work_dir=work_dir,
            **settings,
        )
    except WorkerKilled as killed:
        raise WorkerKilled(f"{killed}; if it was memory, {less_memory(settings)}") from killed


def surroundings(device: str, optimizer: Choice, *, offload_optimizer: bool) -> dict[str, str]:
    """Return the environment variables of a worker, once DeepSpeed's extensions are compiled."""
    ops = compiled_ops(device, optimizer.builders(offload=offload_optimizer, device=device))
    return {"DS_ACCELERATOR": device, **ops}
