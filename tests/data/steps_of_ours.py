"""Steps as a person would write them, for the tests."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from mini_lima.chat import Chat
from mini_lima.data.examples import Example, read_examples, write_examples


def keep(output_dir: Path, *, data: Path) -> None:
    write_examples(output_dir, read_examples(data))


def shout(output_dir: Path, *, data: Path) -> None:
    write_examples(output_dir, [replace(e, output=e.output.upper()) for e in read_examples(data)])


def first(
    data: Sequence[Example], *, share: Annotated[float, Interval(gt=0, le=1)]
) -> Sequence[Example]:
    return data[: max(1, round(share * len(data)))]


def both(
    data: Sequence[Example], *, other: Sequence[Example], how: Literal["ids"] = "ids"
) -> Sequence[Example]:
    known = {each.id for each in other}
    return [each for each in data if each.id in known]


def bare(output_dir: Path, *, file: Path) -> None:
    rows = [{"instruction": line, "output": line[::-1]} for line in file.read_text().splitlines()]
    (output_dir / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))


def written(output_dir: Path, *, text: str) -> None:
    (output_dir / "examples.jsonl").write_text(text)


def unforeseen(output_dir: Path, *, data: Path, teacher: Chat) -> None:
    keep(output_dir, data=data)
