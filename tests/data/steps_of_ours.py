"""Steps as a person would write them, for the tests."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from mini_lima.chat import Chat
from mini_lima.data.examples import read_examples, write_examples


def keep(output_dir: Path, *, data: Path) -> None:
    write_examples(output_dir, read_examples(data))


def shout(output_dir: Path, *, data: Path) -> None:
    write_examples(output_dir, [replace(e, output=e.output.upper()) for e in read_examples(data)])


def first(output_dir: Path, *, data: Path, share: Annotated[float, Interval(gt=0, le=1)]) -> None:
    examples = read_examples(data)
    write_examples(output_dir, examples[: max(1, round(share * len(examples)))])


def both(output_dir: Path, *, data: Path, other: Path, how: Literal["ids"] = "ids") -> None:
    known = {each.id for each in read_examples(other)}
    write_examples(output_dir, [each for each in read_examples(data) if each.id in known])


def bare(output_dir: Path, *, file: Path) -> None:
    rows = [{"instruction": line, "output": line[::-1]} for line in file.read_text().splitlines()]
    (output_dir / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))


def written(output_dir: Path, *, text: str) -> None:
    (output_dir / "examples.jsonl").write_text(text)


def unforeseen(output_dir: Path, *, data: Path, teacher: Chat) -> None:
    keep(output_dir, data=data)
