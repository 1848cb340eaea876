"""Evaluation: model outputs, the annotator's verdicts on them, and what they are worth."""

from pathlib import Path
from typing import Any

from mini_lima import launch
from mini_lima.devices import process_count


def generate(
    output_dir: Path, *, processes: int | str, threads: int | None, device: str, **given: Any
) -> None:
    """Run `mini_lima.evaluation.generation.generate` with ``given`` in workers on ``device``."""
    launch.run(
        "mini_lima.evaluation.generation",
        processes=process_count(processes, device),
        threads=threads,
        output_dir=output_dir,
        device=device,
        **given,
    )
