"""A step: what one's own arm does to the examples before it."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from mini_lima.data import read_examples, write_examples


def halve(output_dir: Path, *, data: Path, ratio: Annotated[float, Interval(gt=0, lt=1)]) -> None:
    """Keep the beginning of every output: the share ``ratio`` of its words, one at least."""
    shorter = []
    for example in read_examples(data):
        words = example.output.split()
        kept = words[: max(1, round(ratio * len(words)))]
        shorter.append(replace(example, output=" ".join(kept)))
    write_examples(output_dir, shorter)
