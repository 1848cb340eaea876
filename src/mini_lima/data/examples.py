"""The finished data set on disk: ``examples.jsonl``, ``rejects.jsonl`` and ``stats.json``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_jsonl, write_json, write_jsonl


@dataclass(frozen=True)
class Example:
    """One instruction example and where it came from.

    ``id`` is the task's id and the instance's place in it; ``source`` is ``seed`` or the number of
    the prompt whose reply (``request``, the key in the response cache) holds the output.
    """

    id: str
    task: str
    name: str
    instruction: str
    input: str
    output: str
    source: str
    request: str | None


@dataclass(frozen=True)
class Reject:
    """A reply, or a part of one, that is not used.

    ``asked_for`` is the id of the task or example that the reply was to serve; prompt 1 has none.
    """

    reason: str
    asked_for: str | None
    request: str
    text: str


def write_data_set(
    output_dir: Path,
    examples: Sequence[Example],
    rejects: Sequence[Reject],
    **figures: Any,
) -> None:
    """Write the data set; ``figures`` join the counts in ``stats.json``.

    Raises:
        UserError: no example is left, with the reasons counted.
    """
    reasons = Counter(reject.reason for reject in rejects)
    if not examples:
        raise UserError(f"the teacher's replies gave no example at all: {dict(reasons)}")
    write_jsonl(output_dir / "examples.jsonl", map(asdict, examples))
    write_jsonl(output_dir / "rejects.jsonl", map(asdict, rejects))
    stats = {
        "examples": len(examples),
        "by_source": dict(Counter(example.source for example in examples)),
        "rejected": dict(reasons),
        "mean_output_characters": fmean(len(example.output) for example in examples),
        **figures,
    }
    write_json(output_dir / "stats.json", stats)


def read_examples(data_set: Path) -> list[Example]:
    """Return the examples of a finished data set in their order."""
    return [Example(**row) for row in read_jsonl(data_set / "examples.jsonl")]
