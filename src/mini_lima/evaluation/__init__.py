"""Evaluation: model outputs, what metrics and annotators make of them, and what that is worth."""

from pathlib import Path
from typing import Any

from mini_lima.evaluation.measuring import measure
from mini_lima.evaluation.metrics import AnsweredInstruction
from mini_lima.evaluation.rules import coin, longest
from mini_lima.workers import launch
from mini_lima.workers.launch import Nodes, process_count

__all__ = ["AnsweredInstruction", "coin", "generate", "generate_by_server", "longest", "measure"]


def generate(
    output_dir: Path,
    *,
    work_dir: Path,
    generator: str,
    processes: int | str,
    threads: int | None,
    device: str,
    **given: Any,
) -> None:
    """Run `mini_lima.evaluation.generation.generate` with ``given`` in workers on ``device``."""
    launch.run(
        "mini_lima.evaluation.generation",
        processes=process_count(processes, device),
        threads=threads,
        nodes=Nodes(folder=work_dir),
        output_dir=output_dir,
        work_dir=work_dir,
        generator=generator,
        device=device,
        **given,
    )


def generate_by_server(output_dir: Path, *, work_dir: Path, generator: str, **given: Any) -> None:
    """Run `mini_lima.evaluation.served.generate` with ``given`` in a process of its own."""
    launch.run(
        "mini_lima.evaluation.served",
        processes=1,
        threads=None,
        nodes=Nodes(folder=work_dir),
        output_dir=output_dir,
        work_dir=work_dir,
        generator=generator,
        **given,
    )
