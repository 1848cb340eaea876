"""Checkpoints of a training run: whole or not there, and taken up only by a run that can go on.

    work_dir/checkpoint-00000100/
        global_step100/, latest             DeepSpeed's: weights, optimizer, learning rate
        trainer_state.json, rng_state*.pth  transformers': position in the data, random states
        metrics.jsonl                       the rows of the steps so far
        checkpoint.json                     who wrote it, and a list of the other files

All processes write into a directory under another name, which is flushed to the disk and renamed
last; before one is taken up, its files are compared with the list (`store.contents`). The last one
alone is kept: with Adam's states it is large (14 bytes per parameter in bf16).
"""

import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.files import read_json, write_json
from mini_lima.sft.failures import disk_full
from mini_lima.store import contents
from mini_lima.store.atomic import whole_directory

log = logging.getLogger(__name__)
MANIFEST = "checkpoint.json"


@dataclass(frozen=True)
class Launch:
    """What a run must have in common with the one that wrote a checkpoint, to go on from it.

    Attributes:
        processes: On all nodes together. DeepSpeed shards the optimizer over them.
        device: ``cpu`` or ``cuda``; the optimizers of the two keep different states.
    """

    processes: int
    device: str


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    folder: Path
    step: int
    launch: Launch


def last(work_dir: Path, *, content: bool = False) -> Checkpoint | None:
    """Return the last whole checkpoint, if there is one.

    Damaged ones are named in the log and put aside, so that no other process takes them up.

    Args:
        work_dir: The run's folder.
        content: Whether to read every file: once, before the processes are started.
    """
    for folder in sorted(work_dir.glob("checkpoint-*"), reverse=True):
        try:
            manifest = read_json(folder / MANIFEST)
            found = [
                *contents.differences(
                    folder, manifest["files"], without=(MANIFEST,), content=content
                )
            ]
            if not found:
                return Checkpoint(folder, manifest["step"], Launch(**manifest["launch"]))
            reason = found[0]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"{MANIFEST}: {error}"
        log.warning("the checkpoint %s is damaged and left out: %s", folder, reason)
        with suppress(OSError):
            folder.rename(folder.with_name(f"damaged-{folder.name}"))
    return None


def refuse_other_launch(found: Checkpoint, launch: Launch) -> None:
    """Raise UserError if a run launched as ``launch`` could not go on from ``found``."""
    if found.launch != launch:
        before, now = (
            f"{each.processes} process(es) on {each.device}" for each in (found.launch, launch)
        )
        raise UserError(
            f"{found.folder} is a checkpoint of {before}, from which DeepSpeed cannot go on with"
            f" {now}: set launch.processes and launch.device as before, or delete it to begin again"
        )


def write(work_dir: Path, step: int, launch: Launch, fill: Callable[[Path], None]) -> None:
    """Write the checkpoint of ``step`` and remove those before; every process calls this.

    Args:
        work_dir: The run's folder, which all processes see.
        step: Optimizer steps done.
        launch: How this run was launched.
        fill: Writes this process's part into the directory that it is given.

    Raises:
        UserError: the disk is full. The checkpoint before is as it was.
    """
    import torch.distributed as group

    target = work_dir / f"checkpoint-{step:08d}"
    first = group.get_rank() == 0
    if first:
        shutil.rmtree(target, ignore_errors=True)  # only a damaged one can be in the way
    try:
        with whole_directory(target, "checkpoint") if first else nullcontext() as own:
            shared = [own]
            group.broadcast_object_list(shared, src=0)
            assert shared[0] is not None
            fill(shared[0])
            group.barrier()
            if own:
                files = contents.listed(own)
                manifest = {"step": step, "launch": asdict(launch), "files": files}
                write_json(own / MANIFEST, manifest)
    except (OSError, RuntimeError) as error:
        if disk_full(error):
            raise UserError(_not_written(work_dir, step, error)) from error
        raise
    if first:
        for older in work_dir.glob("checkpoint-*"):
            if older != target:
                shutil.rmtree(older, ignore_errors=True)
    group.barrier()  # nobody goes on, or ends, while the first process still renames


def _not_written(work_dir: Path, step: int, error: Exception) -> str:
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    free = shutil.disk_usage(work_dir).free / 1e9
    before = last(work_dir)
    intact = f"that of step {before.step} is intact" if before else "there is none before it"
    return (
        f"the checkpoint of step {step} cannot be written to {work_dir}, where {free:.3g} GB are"
        f" free ({reason}); {intact}: make room and run the same command again"
    )


def describe(work_dir: Path) -> str:
    """Say which checkpoint a run would go on from."""
    found = last(work_dir)
    if found is None:
        return "there is no checkpoint yet"
    return f"the last good checkpoint, of step {found.step}, is {found.folder}"
