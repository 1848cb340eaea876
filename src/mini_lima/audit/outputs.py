"""The outputs that were judged, and whether the annotations are about them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mini_lima.audit.rows import Row, commonest, name_of, read_rows, text_of

MODEL, REFERENCE = "model_outputs.json", "reference_outputs.json"


@dataclass(frozen=True)
class Outputs:
    """One of the two outputs files: (instruction, output) in its order, and whose they are."""

    name: str
    pairs: list[tuple[str, str]]
    generator: str | None

    @property
    def texts(self) -> list[str]:
        """The outputs."""
        return [output for _, output in self.pairs]

    def differs(self, rows: Sequence[Row], column: str) -> bool:
        """Whether what stands in ``column`` of the rows is not what is here."""
        judged = {(row["instruction"], row[column]) for row in rows if row[column] is not None}
        return not judged <= set(self.pairs)


def read_outputs(folder: Path, name: str) -> Outputs | None:
    """Read ``name`` beside the annotations in ``folder`` or, as the library lays it, above them.

    Raises:
        UserError: it is there and cannot be read.
    """
    for place in (folder, folder.absolute().parent):
        if (place / name).is_file():
            rows = read_rows(place / name, needed=("instruction", "output"))
            pairs = [(row["instruction"], text_of(row["output"])) for row in rows]
            return Outputs(name, pairs, commonest(name_of(row.get("generator")) for row in rows))
    return None


def is_swapped(rows: Sequence[Row], model: Outputs | None, reference: Outputs | None) -> bool:
    """Whether the model's outputs stand as output 1 in ``rows``, by what the files say."""
    usual = turned = 0
    for outputs, as_usual, as_turned in (
        (model, "output_2", "output_1"),
        (reference, "output_1", "output_2"),
    ):
        known = set(outputs.pairs if outputs else ())
        usual += sum((row["instruction"], text_of(row.get(as_usual))) in known for row in rows)
        turned += sum((row["instruction"], text_of(row.get(as_turned))) in known for row in rows)
    return turned > usual


def differing(outputs: Outputs, rows: Sequence[Row], column: str) -> list[str]:
    """Say where ``outputs`` and the ``column`` of the rows do not belong together."""
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for instruction, output in outputs.pairs:
        answers[instruction].add(output)
    judged = {(row["instruction"], row[column]) for row in rows if row[column] is not None}
    others = {i for i, output in judged if i in answers and output not in answers[i]}
    unknown = {instruction for instruction, _ in judged} - answers.keys()
    said = (
        (others, f"was judged with another answer than the one in {outputs.name}"),
        (unknown, f"was judged and is not in {outputs.name}"),
    )
    return [f"{len(which)} of {len(answers)} instructions: {what}" for which, what in said if which]


def is_of_another_run(outputs: Outputs, rows: Sequence[Row], column: str) -> bool:
    """Whether ``outputs`` have nothing in common with what the rows say was judged."""
    judged = {(row["instruction"], row[column]) for row in rows if row[column] is not None}
    return judged.isdisjoint(outputs.pairs)


def without_a_row(
    model: Outputs | None, reference: Outputs | None, rows: Sequence[Row]
) -> list[Row]:
    """Return rows without a verdict for the instructions that were answered and have no row.

    A run of the library's can lose them without a word. What the reference has no answer to cannot
    be judged, and is not missing.
    """
    if model is None:
        return []
    references = dict(reference.pairs if reference else ())
    known = {row["instruction"] for row in rows}
    nothing = dict.fromkeys(
        ("raw_completion", "price_per_example", "time_per_example", "date", "version", "preference")
    )
    usual = {name: commonest(row[name] for row in rows) for name in ("annotator", "generator_1")}
    return [
        {
            **nothing,
            **usual,
            "instruction": instruction,
            "output_1": references.get(instruction),
            "output_2": output,
            "generator_2": rows[0]["generator_2"],
            "is_invalid": False,
            "is_absent": True,
        }
        for instruction, output in model.pairs
        if instruction not in known and (reference is None or instruction in references)
    ]


def unanswered(model: Outputs | None, reference: Outputs | None) -> list[str]:
    """Say how many instructions only one of the two files has an output for."""
    if model is None or reference is None:
        return []
    found = []
    for one, other in ((reference, model), (model, reference)):
        asked = {instruction for instruction, _ in one.pairs}
        lacking = asked - {instruction for instruction, _ in other.pairs}
        if lacking:
            what = f"is in {one.name} and not in {other.name}"
            found.append(f"{len(lacking)} of {len(asked)} instructions: {what}")
    return found
