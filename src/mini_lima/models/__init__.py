"""Models: loading, the chat template, and a folder made of a GGUF file."""

from pathlib import Path

from mini_lima.workers import launch
from mini_lima.workers.launch import Nodes

__all__ = ["unpack"]


def unpack(output_dir: Path, *, work_dir: Path, gguf: Path) -> None:
    """Run `mini_lima.models.gguf.unpack` in a process of its own."""
    launch.run(
        "mini_lima.models.gguf",
        processes=1,
        threads=None,
        nodes=Nodes(folder=work_dir),
        output_dir=output_dir,
        gguf=gguf,
    )
