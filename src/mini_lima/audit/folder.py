"""Reading a result folder of AlpacaEval's, whoever made it and with which of its versions.

The files differ more than their format says. A tie is 1.5 or, in old files, 0; a verdict that
failed is null, NaN, -1 (as the library's cache has it) or a number that is no preference; the file
is a list or JSON Lines; raw completions, prices and dates may be missing or have a prefix; the
model may stand as output 1. All of that is settled here, once: behind this module a row is a row of
our own annotations.json, with the reference as output 1 and the model as output 2. The outputs that
were judged are read too, and whether the annotations are about them.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mini_lima.audit.leaderboard import Standing, read_leaderboard
from mini_lima.audit.rows import (
    Row,
    commonest,
    is_nothing,
    name_of,
    number_of,
    preference,
    read_rows,
    text_of,
)
from mini_lima.errors import UserError

MODEL, REFERENCE = "model_outputs.json", "reference_outputs.json"

ANNOTATIONS = "annotations.json"
PREFIXED = ("raw_completion", "price_per_example", "time_per_example", "date", "version")
"""Columns of the library's that newer versions write with ``preference_`` before their name."""


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


@dataclass(frozen=True)
class Folder:
    """A result folder, read.

    Attributes:
        path: Where it is.
        model: The generator that was judged.
        reference: What it was judged against.
        rows: A verdict each: ``instruction``, ``output_1`` (the reference's, None if no file has
            it), ``output_2`` (the model's), ``preference`` (1 to 2, None if it failed),
            ``is_invalid`` (there was a value, but no preference), ``is_absent`` (the instruction
            was answered and has no row), ``annotator``, and what else the file had.
        swapped: The model stands as output 1 in the file, and a preference of 2 was the
            reference's there.
        standing: The model's row of the leaderboard, if there is one.
        model_outputs: What is in model_outputs.json.
        reference_outputs: What is in reference_outputs.json.
        remarks: What is odd about the files.
    """

    path: Path
    model: str
    reference: str
    rows: list[Row]
    swapped: bool
    standing: Standing | None
    model_outputs: Outputs | None
    reference_outputs: Outputs | None
    remarks: list[str]


def read_folder(path: Path, model: str | None = None) -> Folder:
    """Read the result folder ``path``.

    Args:
        path: Has an annotations.json, and in it or above it the outputs that were judged.
        model: Which generator to look at, where the annotations are on several.

    Raises:
        UserError: what is missing or cannot be read, with file and row.
    """
    if not path.is_dir():
        what = "is a file: name the folder that it is in" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}")
    if not (path / ANNOTATIONS).is_file():
        raise UserError(f"{path} has no {ANNOTATIONS}{_hint(path)}")
    found = read_rows(path / ANNOTATIONS, needed=("instruction", "preference"))
    answered, referred = read_outputs(path, MODEL), read_outputs(path, REFERENCE)
    swapped = is_swapped(found, answered, referred)
    answering = answered.generator if answered else None
    found, name = _of_one_model(found, model, answering, swapped, path / ANNOTATIONS)
    texts = [dict(outputs.pairs) if outputs else {} for outputs in (referred, answered)]
    rows = [_settled(row, swapped, *texts) for row in found]
    remarks = []
    if swapped:
        remarks.append("the model stands as output 1 in annotations.json: preferences were turned")
    answered, of_answers = _belonging(answered, rows, "output_2")
    referred, of_references = _belonging(referred, rows, "output_1")
    remarks += of_answers + of_references
    remarks += unanswered(answered, referred)
    references = [each for each in dict.fromkeys(row["generator_1"] for row in rows) if each]
    standing, missed = read_leaderboard(path, name, commonest(references), swapped)
    return Folder(
        path=path,
        model=name,
        reference=", ".join(references) or (referred and referred.generator) or "reference",
        rows=[*rows, *without_a_row(answered, referred, rows)],
        swapped=swapped,
        standing=standing,
        model_outputs=answered,
        reference_outputs=referred,
        remarks=[*remarks, *missed],
    )


def _hint(path: Path) -> str:
    """Say where the verdicts of a folder without annotations.json may be."""
    if below := sorted(found.parent.name for found in path.glob(f"*/{ANNOTATIONS}")):
        return f"; name one of its folders that have: {', '.join(below)}"
    if like := sorted(found.name for found in path.glob("annotations*") if found.is_file()):
        return f"; if {' or '.join(like)} has the verdicts, unpack or copy it to {ANNOTATIONS}"
    return ", so there is nothing to audit"


def _belonging(
    outputs: Outputs | None, rows: list[Row], column: str
) -> tuple[Outputs | None, list[str]]:
    """Return ``outputs`` if they are this run's, and what is to be said of them."""
    if outputs is None:
        return None, []
    if is_of_another_run(outputs, rows, column):
        remark = f"{outputs.name} has nothing in common with {ANNOTATIONS}: it is left aside"
        return None, [remark]
    return outputs, differing(outputs, rows, column)


def _of_one_model(
    rows: list[Row], model: str | None, answering: str | None, swapped: bool, path: Path
) -> tuple[list[Row], str]:
    """Return the rows on one model, and its name."""
    column = "generator_1" if swapped else "generator_2"
    names = dict.fromkeys(name_of(row.get(column)) for row in rows)
    if model is None and len(names) > 1 and answering in names:
        model = answering
    if model is None and len(names) > 1:
        raise UserError(
            f"{path} has verdicts on several models: name one with --model: {', '.join(names)}"
        )
    if model is None:
        return rows, commonest(names) or answering or "model"
    if model not in names:
        raise UserError(f"{path} has no verdicts on {model!r}, only on {', '.join(names)}")
    other = "generator_2" if swapped else "generator_1"
    if turned := sum(name_of(row.get(other)) == model for row in rows):
        raise UserError(
            f"{path} has {model!r} as output 1 in some rows and as output 2 in others "
            f"({turned} and {len(rows) - turned}): turn them all to one side"
        )
    return [row for row in rows if name_of(row.get(column)) == model], model


def _settled(row: Row, swapped: bool, referred: dict[str, str], answered: dict[str, str]) -> Row:
    first, second = ("2", "1") if swapped else ("1", "2")
    value = row["preference"]
    verdict = preference(value)
    named = {name: row.get(name, row.get(f"preference_{name}")) for name in PREFIXED}
    return {
        **row,
        "raw_completion": named["raw_completion"],
        "price_per_example": number_of(named["price_per_example"]),
        "time_per_example": number_of(named["time_per_example"]),
        "date": name_of(named["date"]) or None,
        "version": name_of(named["version"]) or None,
        "output_1": _output(row, first, referred),
        "output_2": _output(row, second, answered),
        "generator_1": name_of(row.get(f"generator_{first}")),
        "generator_2": name_of(row.get(f"generator_{second}")),
        "preference": 3 - verdict if swapped and verdict is not None else verdict,
        "is_absent": False,
        "is_invalid": verdict is None and not is_nothing(value),
        "annotator": name_of(row.get("annotator")) or "annotator",
    }


def _output(row: Row, side: str, outputs: dict[str, str]) -> str | None:
    if row.get(f"output_{side}") is not None:
        return text_of(row[f"output_{side}"])
    return outputs.get(row["instruction"])
