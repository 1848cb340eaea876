"""The finished data set on disk.

examples.jsonl   a row per example, with its lineage
rejects.jsonl    all that is not used, with the reason
stats.json       the figures; card.md with lengths.svg shows them to people
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mini_lima.data.card import card, length_histogram
from mini_lima.data.examples import DataSet
from mini_lima.data.measures import counts
from mini_lima.errors import UserError
from mini_lima.files import write_json, write_jsonl, write_text


def write_data_set(output_dir: Path, made: DataSet, **figures: Any) -> None:
    """Write the data set; ``figures`` join the counts in ``stats.json``.

    Raises:
        UserError: no example is left, with the reasons counted.
    """
    if not made.examples:
        reasons = {reject.reason for reject in made.rejects}
        counted = {r: sum(each.reason == r for each in made.rejects) for r in sorted(reasons)}
        raise UserError(f"the teacher's replies gave no example at all: {counted}")
    write_jsonl(output_dir / "examples.jsonl", map(asdict, made.examples))
    write_jsonl(output_dir / "rejects.jsonl", map(asdict, made.rejects))
    stats = {**counts(made), **figures}
    write_json(output_dir / "stats.json", stats)
    write_text(output_dir / "lengths.svg", length_histogram(made))
    write_text(output_dir / "card.md", card(made, stats))
