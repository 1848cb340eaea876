"""Steps as a person would write them, for the tests."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from mini_lima.chat import Chat, user_says
from mini_lima.data.examples import Example, read_examples, write_examples
from mini_lima.data.steps import Forecast, forecast_by


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


def _expect_polished(*, data: Sequence[Example], **_: object) -> Forecast:
    return Forecast(examples=data)


@forecast_by(_expect_polished)
def polish(output_dir: Path, *, data: Path, teacher: Chat) -> None:
    examples = read_examples(data)
    with teacher.session(output_dir) as session:
        replies = session.ask(user_says(each.output for each in examples), label="polish")
    write_examples(
        output_dir,
        [replace(e, output=r.text or e.output) for e, r in zip(examples, replies, strict=True)],
    )
