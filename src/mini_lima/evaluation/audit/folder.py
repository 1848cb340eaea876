"""Reading a result folder of AlpacaEval's, whoever made it and with which of its versions.

The files differ more than their format says. A tie is 1.5 or, in old files, 0; a verdict that
failed is null, NaN, -1 (as the library's cache has it) or a number that is no preference; the file
is a list or JSON Lines; raw completions, prices and dates may be missing or have a prefix; the
model may stand as output 1. All of that is settled here, once: behind this module a row is a row of
our own annotations.json, with the reference as output 1 and the model as output 2.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.evaluation.audit.leaderboard import Standing, read_leaderboard
from mini_lima.evaluation.audit.rows import (
    Row,
    is_nothing,
    name_of,
    number_of,
    preference,
    read_rows,
    text_of,
)

ANNOTATIONS, MODEL, REFERENCE = "annotations.json", "model_outputs.json", "reference_outputs.json"
PREFIXED = ("raw_completion", "price_per_example", "time_per_example", "date", "version")
"""Columns of the library's that newer versions write with ``preference_`` before their name."""


@dataclass(frozen=True)
class Folder:
    """A result folder, read.

    Attributes:
        path: Where it is.
        model: The generator that was judged.
        reference: What it was judged against.
        rows: A verdict each: ``instruction``, ``output_1`` (the reference's, None if no file has
            it), ``output_2`` (the model's), ``preference`` (1 to 2, None if it failed),
            ``is_invalid`` (there was a value, but no preference), ``annotator``, and what else
            the file had.
        swapped: The model stands as output 1 in the file, and a preference of 2 was the
            reference's there.
        standing: The model's row of the leaderboard, if there is one.
        model_outputs: Instructions and answers of model_outputs.json, in its order.
        reference_outputs: The same of reference_outputs.json.
        remarks: What is odd about the files.
    """

    path: Path
    model: str
    reference: str
    rows: list[Row]
    swapped: bool
    standing: Standing | None
    model_outputs: list[tuple[str, str]] | None
    reference_outputs: list[tuple[str, str]] | None
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
        below = sorted(found.parent.name for found in path.glob(f"*/{ANNOTATIONS}"))
        hint = f"; name one of its folders that have: {', '.join(below)}" if below else ""
        raise UserError(f"{path} has no {ANNOTATIONS}{hint or ', so there is nothing to audit'}")
    found = read_rows(path / ANNOTATIONS, needed=("instruction", "preference"))
    answered, answering = _outputs(path, MODEL)
    referred, referring = _outputs(path, REFERENCE)
    swapped = _is_swapped(found, answered, referred)
    found, name = _of_one_model(found, model, answering, swapped, path / ANNOTATIONS)
    texts = (dict(referred or ()), dict(answered or ()))
    rows = [_row(row, swapped, *texts) for row in found]
    remarks = []
    if swapped:
        remarks.append("the model stands as output 1 in annotations.json: preferences were turned")
    if answered is not None:
        remarks += _differing(rows, answered)
    references = Counter(row["generator_1"] for row in rows)
    standing, missed = read_leaderboard(path, name, _one(references), swapped)
    return Folder(
        path=path,
        model=name,
        reference=", ".join(references) if any(references) else _one(referring) or "reference",
        rows=rows,
        swapped=swapped,
        standing=standing,
        model_outputs=answered,
        reference_outputs=referred,
        remarks=[*remarks, *missed],
    )


def _outputs(path: Path, name: str) -> tuple[list[tuple[str, str]] | None, Counter[str]]:
    """Read one of the outputs files, beside the annotations or, as the library lays it, above."""
    places = [
        folder / name for folder in (path, path.absolute().parent) if (folder / name).is_file()
    ]
    if not places:
        return None, Counter()
    rows = read_rows(places[0], needed=("instruction", "output"))
    outputs = [(row["instruction"], text_of(row["output"])) for row in rows]
    return outputs, Counter(name_of(row.get("generator")) for row in rows)


def _is_swapped(
    rows: Sequence[Row],
    answered: Sequence[tuple[str, str]] | None,
    referred: Sequence[tuple[str, str]] | None,
) -> bool:
    """Whether the model's outputs stand as output 1, by what the outputs files say."""
    usual = turned = 0
    for files, as_usual, as_turned in (
        (answered, "output_2", "output_1"),
        (referred, "output_1", "output_2"),
    ):
        known = set(files or ())
        usual += sum((row["instruction"], text_of(row.get(as_usual))) in known for row in rows)
        turned += sum((row["instruction"], text_of(row.get(as_turned))) in known for row in rows)
    return turned > usual


def _of_one_model(
    rows: list[Row], model: str | None, answering: Counter[str], swapped: bool, path: Path
) -> tuple[list[Row], str]:
    """Return the rows on one model, and its name."""
    column = "generator_1" if swapped else "generator_2"
    names = Counter(name_of(row.get(column)) for row in rows)
    if model is None and len(names) > 1 and _one(answering) in names:
        model = _one(answering)
    if model is None and len(names) > 1:
        raise UserError(
            f"{path} has verdicts on several models: name one with --model: {', '.join(names)}"
        )
    if model is None:
        return rows, _one(names) or _one(answering) or "model"
    if model not in names:
        raise UserError(f"{path} has no verdicts on {model!r}, only on {', '.join(names)}")
    return [row for row in rows if name_of(row.get(column)) == model], model


def _row(row: Row, swapped: bool, referred: dict[str, str], answered: dict[str, str]) -> Row:
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
        "is_invalid": verdict is None and not is_nothing(value),
        "annotator": name_of(row.get("annotator")) or "annotator",
    }


def _output(row: Row, side: str, outputs: dict[str, str]) -> str | None:
    if f"output_{side}" in row:
        return text_of(row[f"output_{side}"])
    return outputs.get(row["instruction"])


def _differing(rows: Sequence[Row], answered: Sequence[tuple[str, str]]) -> list[str]:
    """Say where model_outputs.json and the annotations do not belong together."""
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for instruction, output in answered:
        answers[instruction].add(output)
    judged = {(row["instruction"], row["output_2"]) for row in rows if row["output_2"] is not None}
    others = {i for i, output in judged if i in answers and output not in answers[i]}
    unknown = {instruction for instruction, _ in judged} - answers.keys()
    absent = answers.keys() - {row["instruction"] for row in rows}
    said = (
        (others, f"was judged with another answer than the one in {MODEL}"),
        (unknown, f"was judged and is not in {MODEL}"),
        (absent, f"is in {MODEL} and has no row in {ANNOTATIONS}"),
    )
    return [f"{len(which)} of {len(answers)} instructions: {what}" for which, what in said if which]


def _one(names: Counter[str]) -> str | None:
    """Return the commonest name, None if there is none."""
    return next((name for name, _ in names.most_common() if name), None)
