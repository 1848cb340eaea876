"""Reading a result folder of AlpacaEval's, whoever made it and with which of its versions.

The files differ more than their format says: the file is a list or JSON Lines; raw completions,
prices and dates may be missing or have a prefix; the model may stand as output 1. All of that is
settled here, once: behind this module a row is an `Annotation` as in our own files, with the
reference as output 1 and the model as output 2. The outputs that were judged are read too, and
whether the annotations are about them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mini_lima.audit.files import (
    ALONE,
    Standing,
    commonest,
    is_nothing,
    name_of,
    number_of,
    preference_of,
    read_leaderboard,
    read_rows,
    text_of,
)
from mini_lima.errors import UserError, listed
from mini_lima.evaluation.pairs import ANNOTATIONS, Annotation

MODEL, REFERENCE = "model_outputs.json", "reference_outputs.json"
TELLING_DIGITS = 5
ORIGINS = ("served_model", "model", "preference_model", "system_fingerprint", "version")
"""Columns that say where a verdict is from, beside the annotator's name."""
COLUMNS = {
    *(each.name for each in fields(Annotation)),
    *("datasplit", "input", "is_switched_outputs", "referenced_models", "model"),
    *(name_of(ALONE), *ORIGINS, "date", "price_per_example", "time_per_example"),
}
"""Columns that are read, or say what the outputs say; some have ``preference_`` before them."""


@dataclass(frozen=True, kw_only=True)
class Row(Annotation):
    """A verdict of a folder, the reference's output being output 1.

    Attributes:
        drawn_by: What the library draws the order by, if the instruction has an input: the rest.
        raw_completion: In whatever form the file has it.
        repeat: Likewise.
        reported: Whether the endpoint reported what the verdict took; None if nobody kept that.
        seconds: The time of its batch.
        date: When it was made.
        origins: What `ORIGINS` say, as far as they are there.
        is_invalid: There was a value, but it is no preference.
        is_absent: The instruction was answered and has no row.
    """

    drawn_by: str = ""
    raw_completion: Any = None
    repeat: Any = None
    reported: bool | None = None
    seconds: float | None = None
    date: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    is_invalid: bool = False
    is_absent: bool = False

    @property
    def moment(self) -> float | str | None:
        """What tells its batch from all others: its time, if that is not rounded, or date.

        Times of several digits do not repeat by chance; those of a clock in tenths do.
        """
        telling = self.seconds is not None and (
            len(f"{self.seconds:.10f}".strip("0.")) >= TELLING_DIGITS
        )
        return self.seconds if telling else self.date

    @property
    def nothing_to_judge(self) -> bool:
        """Whether both outputs are known and equal: a tie that nobody was asked about."""
        return self.output_1 is not None and self.output_1 == self.output_2


@dataclass(frozen=True)
class Outputs:
    """One of the two outputs files.

    Attributes:
        name: Of the file.
        column: Where its outputs are in the rows of a folder.
        pairs: (instruction, output) in its order.
        generator: Whose they are.
    """

    name: str
    column: str
    pairs: list[tuple[str, str]]
    generator: str | None

    @property
    def texts(self) -> list[str]:
        """The outputs."""
        return [output for _, output in self.pairs]

    def judged(self, rows: Sequence[Row]) -> set[tuple[str, str]]:
        """Return the (instruction, output) pairs that ``rows`` are about."""
        return {(r.instruction, o) for r in rows if (o := getattr(r, self.column)) is not None}

    def remarks(self, rows: Sequence[Row]) -> Iterator[str]:
        """Say where the outputs and what was judged do not belong together."""
        answers: defaultdict[str, set[str]] = defaultdict(set)
        for instruction, output in self.pairs:
            answers[instruction].add(output)
        judged = self.judged(rows)
        others = {i for i, output in judged if i in answers and output not in answers[i]}
        if others:
            what = f"was judged with another answer than the one in {self.name}"
            yield f"{len(others)} of {len(answers)} instructions: {what}"
        if unknown := {instruction for instruction, _ in judged} - answers.keys():
            what = f"was judged and is not in {self.name}"
            yield f"{len(unknown)} of {len(answers)} instructions: {what}"


@dataclass(frozen=True)
class Folder:
    """A result folder, read.

    Attributes:
        path: Where it is.
        model: The generator that was judged.
        reference: What it was judged against.
        rows: A verdict each. ``model_first`` is what the file says; see `order.find_order`.
        is_ours: The file has our own column for the order, and so says it of every verdict.
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
    is_ours: bool
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
    answered = _read_outputs(path, MODEL, "output_2")
    referred = _read_outputs(path, REFERENCE, "output_1")
    swapped = _is_swapped(found, answered, referred)
    answering = answered.generator if answered else None
    found, name = _of_one_model(found, model, answering, swapped, path / ANNOTATIONS)
    texts = [dict(outputs.pairs) if outputs else {} for outputs in (referred, answered)]
    rows = [_settled(row, swapped, *texts) for row in found]
    _refuse_turned(sum(_is_turned(row, *texts) for row in rows), rows, name, path / ANNOTATIONS)
    remarks = list(_unread(found))
    if swapped:
        remarks.append("the model stands as output 1 in annotations.json: preferences were turned")
    kept = []
    for outputs in (answered, referred):
        belongs = outputs is not None and not outputs.judged(rows).isdisjoint(outputs.pairs)
        kept.append(outputs if belongs else None)
        if outputs and belongs:
            remarks += outputs.remarks(rows)
        elif outputs:
            what = f"has nothing in common with {ANNOTATIONS}: it is left aside"
            remarks.append(f"{outputs.name} {what}")
    answered, referred = kept
    if answered and referred:
        for one, other in ((referred, answered), (answered, referred)):
            asked = {instruction for instruction, _ in one.pairs}
            if lacking := asked - {instruction for instruction, _ in other.pairs}:
                what = f"is in {one.name} and not in {other.name}"
                remarks.append(f"{len(lacking)} of {len(asked)} instructions: {what}")
    references = [each for each in dict.fromkeys(row.generator_1 for row in rows) if each]
    standing, missed = read_leaderboard(path, name, commonest(references), swapped)
    return Folder(
        path=path,
        model=name,
        reference=", ".join(listed(references, 3))
        or (referred and referred.generator)
        or "reference",
        rows=[*rows, *_without_a_row(answered, referred, rows)],
        is_ours=any(isinstance(row.get("model_first"), bool) for row in found),
        swapped=swapped,
        standing=standing,
        model_outputs=answered,
        reference_outputs=referred,
        remarks=[*remarks, *missed],
    )


def _unread(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which columns of annotations.json are not looked at."""
    counts = Counter(
        name
        for row in rows
        for key in row
        if (name := name_of(key).removeprefix("preference_")) not in COLUMNS
        and row[key] is not None
    )
    if counts:
        names = ", ".join(listed([f"{name} ({count})" for name, count in counts.most_common()], 5))
        yield f"columns of {ANNOTATIONS} that are not looked at, with the number of rows: {names}"


def _hint(path: Path) -> str:
    """Say where the verdicts of a folder without annotations.json may be."""
    if below := sorted(found.parent.name for found in path.glob(f"*/{ANNOTATIONS}")):
        return f"; name one of its folders that have: {', '.join(listed(below))}"
    if like := sorted(found.name for found in path.glob("annotations*") if found.is_file()):
        return f"; if {' or '.join(like)} has the verdicts, unpack or copy it to {ANNOTATIONS}"
    return ", so there is nothing to audit"


def _read_outputs(folder: Path, name: str, column: str) -> Outputs | None:
    """Read ``name`` beside the annotations in ``folder`` or, as the library lays it, above them."""
    for place in (folder, folder.absolute().parent):
        if (place / name).is_file():
            rows = read_rows(place / name, needed=("instruction", "output"))
            pairs = [(row["instruction"], text_of(row["output"])) for row in rows]
            generator = commonest(name_of(row.get("generator")) for row in rows)
            return Outputs(name, column, pairs, generator)
    return None


def _is_swapped(
    rows: Sequence[Mapping[str, Any]], model: Outputs | None, reference: Outputs | None
) -> bool:
    """Whether the model's outputs stand as output 1 in ``rows``, by what the files say."""

    def side(outputs: Outputs | None, own: str, other: str) -> int:
        """1 if most of what was judged stands on the other side, -1 if it stands on its own.

        A few answers are the same by accident.
        """
        known = set(outputs.pairs if outputs else ())
        asked = {instruction for instruction, _ in known}
        judged = [row for row in rows if row["instruction"] in asked]

        def matching(column: str) -> int:
            return sum((row["instruction"], text_of(row.get(column))) in known for row in judged)

        there, here = matching(other), matching(own)
        return (there > here and 2 * there > len(judged)) - (
            here >= there and 2 * here > len(judged)
        )

    return side(model, "output_2", "output_1") + side(reference, "output_1", "output_2") > 0


def _of_one_model(
    rows: list[dict[str, Any]], model: str | None, answering: str | None, swapped: bool, path: Path
) -> tuple[list[dict[str, Any]], str]:
    """Return the rows on one model, and its name."""
    own, other = ("generator_1", "generator_2") if swapped else ("generator_2", "generator_1")
    names = dict.fromkeys(name_of(row.get(own)) for row in rows)
    if model is None and len(names) == 1:
        return rows, commonest(names) or answering or "model"
    if model is None:
        model = answering if answering in names else None
    if model is None:
        raise UserError(
            f"{path} has verdicts on several models: name one with --model: {', '.join(listed(list(names)))}"
        )
    if model not in names:
        raise UserError(
            f"{path} has no verdicts on {model!r}, only on {', '.join(listed(list(names)))}"
        )
    _refuse_turned(sum(name_of(row.get(other)) == model for row in rows), rows, model, path)
    return [row for row in rows if name_of(row.get(own)) == model], model


def _is_turned(row: Row, referred: Mapping[str, str], answered: Mapping[str, str]) -> bool:
    """Whether the answers of ``row`` stand in each other's place, by both outputs files."""
    asked = row.instruction
    return (
        not row.nothing_to_judge
        and row.output_1 == answered.get(asked, "")
        and row.output_2 == referred.get(asked, "")
    )


def _refuse_turned(turned: int, rows: Sequence[Any], model: str, path: Path) -> None:
    if turned:
        raise UserError(
            f"{path} has {model!r} as output 1 in some rows and as output 2 in others "
            f"({turned} and {len(rows) - turned}): turn them all to one side"
        )


def _settled(
    row: Mapping[str, Any], swapped: bool, referred: dict[str, str], answered: dict[str, str]
) -> Row:
    """Read a row, of which newer versions write some columns with ``preference_`` before them."""

    def named(name: str) -> Any:
        return row.get(name, row.get(f"preference_{name}"))

    def output(side: str, outputs: dict[str, str]) -> str | None:
        if row.get(f"output_{side}") is not None:
            return text_of(row[f"output_{side}"])
        return outputs.get(row["instruction"])

    first, second = ("2", "1") if swapped else ("1", "2")
    verdict = preference_of(row["preference"])
    turned = 3 - verdict if swapped and verdict is not None else verdict
    origins = {column: row.get(column) for column in ORIGINS}
    origins["version"] = name_of(named("version")) or None
    return Row(
        instruction=row["instruction"],
        output_1=output(first, referred),
        generator_1=name_of(row.get(f"generator_{first}")),
        output_2=output(second, answered),
        generator_2=name_of(row.get(f"generator_{second}")),
        annotator=name_of(row.get("annotator")) or "annotator",
        drawn_by=row[ALONE],
        preference=turned,
        model_first=_given_order(row, turned, swapped),
        repeat=row.get("repeat"),
        raw_completion=named("raw_completion"),
        reported=_is_reported(row, number_of(named("price_per_example"))),
        seconds=number_of(named("time_per_example")),
        date=name_of(named("date")) or None,
        origins={column: str(value) for column, value in origins.items() if value is not None},
        is_invalid=verdict is None and not is_nothing(row["preference"]),
    )


def _given_order(row: Mapping[str, Any], preference: float | None, swapped: bool) -> bool | None:
    """Read the order where the file has it: in our own column, or in one of the library's."""
    if isinstance(row.get("model_first"), bool):
        return bool(row["model_first"])
    switched, models = row.get("is_switched_outputs"), row.get("referenced_models")
    # The library takes the whole part of the preference: with a weighted one it names the wrong.
    if preference in (1, 2) and isinstance(models, dict):
        switched = {"output_1": False, "output_2": True}.get(str(models.get("m")), switched)
    return switched != swapped if isinstance(switched, bool) else None


def _is_reported(row: Mapping[str, Any], price: float | None) -> bool | None:
    """Say whether the endpoint reported what the verdict took; None if nobody kept it."""
    if price is not None:
        return price > 0
    if "served_model" not in row or row.get("raw_completion") is None:  # not ours, or not asked
        return None
    usage = row.get("usage")
    counts = usage.values() if isinstance(usage, dict) else ()
    return any(isinstance(n, int | float) and n > 0 for n in counts)


def _without_a_row(
    model: Outputs | None, reference: Outputs | None, rows: Sequence[Row]
) -> list[Row]:
    """Return rows without a verdict for the instructions that were answered and have no row.

    A run of the library's can lose them without a word. What the reference has no answer to cannot
    be judged, and is not missing.
    """
    if model is None:
        return []
    references = dict(reference.pairs if reference else ())
    known = {row.instruction for row in rows}
    annotator = commonest(row.annotator for row in rows) or ""
    generator = commonest(row.generator_1 for row in rows) or ""
    return [
        Row(
            instruction=instruction,
            output_1=references.get(instruction),
            generator_1=generator,
            output_2=output,
            generator_2=rows[0].generator_2,
            annotator=annotator,
            preference=None,
            is_absent=True,
        )
        for instruction, output in model.pairs
        if instruction not in known and (reference is None or instruction in references)
    ]
