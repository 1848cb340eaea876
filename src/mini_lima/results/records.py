"""What a cell leaves behind, as types.

`Result` is ``result.json``, which the stage that summarises a cell writes, `CellRecord` is
``cell.json``, which the cell's process writes. Everything that compares, shows or tracks cells
reads them through here, so a file that does not fit is refused with file and field. One of another
version is not guessed at: running its sweep again makes it from the stages in the store.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mini_lima.errors import UserError, listed
from mini_lima.files import read_document, validated, write_json
from mini_lima.results.contamination import Contamination
from mini_lima.results.numbers import (
    Agreement,
    Consistency,
    LengthControlled,
    Measurement,
    PairedDifference,
    SameLength,
    VarianceSplit,
    WinRate,
)
from mini_lima.text import redacted

CELL, RESULT = "cell.json", "result.json"
VERSION = 1
"""Of both files; raised when a reader of the earlier one would misread it."""
Which = Literal["baseline", "sft"]
Status = Literal["unfinished", "finished", "failed", "stopped"]


class OtherVersionError(UserError):
    """A record that another version wrote."""


@dataclass(frozen=True)
class Judged(WinRate):
    """What one judge made of one model's answers: ``leaderboard.json`` of its stage.

    Attributes:
        generator: Whose answers.
        reference: Whose answers they were compared with.
        annotator: The judge's name, for people.
        orders: Who was shown first.
        repeats: Verdicts on each pair in each order.
        incomplete: Too many verdicts failed.
        failures: How many, by reason.
        avg_length: Mean length of the answers in characters.
        judge: What tells the judge from any other: prompt, model and sampling.
    """

    generator: str
    reference: str
    annotator: str
    orders: str
    repeats: int
    incomplete: bool
    consistency: Consistency
    variance: VarianceSplit
    same_length: SameLength
    length_controlled: LengthControlled
    failures: dict[str, int]
    avg_length: float
    avg_length_reference: float
    judge: dict[str, Any]


@dataclass(frozen=True)
class Judgement:
    """One judge of a cell.

    Attributes:
        key: Under which it is configured: ``annotator``, or ``other_annotators.<name>``.
        name: For people; no two of a cell have the same.
        baseline: On the untuned model's answers.
        sft: On the tuned model's.
        agreement: With the first judge, about the tuned model; None of the first itself.
    """

    key: str
    name: str
    baseline: Judged
    sft: Judged
    agreement: Agreement | None = None

    @property
    def measure(self) -> str:
        """What its numbers measure."""
        return f"win rate by {self.name}"


@dataclass(frozen=True)
class Health:
    """What is wrong with answers whatever a judge thinks of them: ``health.json``.

    Attributes:
        n: Answers.
        faults: How many have each fault.
        mean_length_characters: Of the answers.
        mean_length_tokens: Of the same.
        warnings: Faults that are too many, as sentences.
    """

    n: int
    faults: dict[str, int]
    mean_length_characters: float
    mean_length_tokens: float
    warnings: list[str]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Health":
        """Read the document, in which every other whole number counts a fault."""
        faults = {k: v for k, v in document.items() if isinstance(v, int) and k != "n"}
        return cls(
            n=document["n"],
            faults=faults,
            mean_length_characters=document["mean_length_characters"],
            mean_length_tokens=document["mean_length_tokens"],
            warnings=document["warnings"],
        )

    @property
    def cut(self) -> int:
        """Answers that ran into the length limit."""
        return self.faults.get("cut_at_limit", 0)


@dataclass(frozen=True)
class Shortfall:
    """A prompt of a data step that brought less than was asked for.

    Attributes:
        step: What the arm calls it.
        prompt: Which of its prompts.
        asked_for: How many examples (tasks, of prompt 1) it was to bring.
        used: How many it brought.
        reasons: Why parts of replies were not used, or there was none, with how often.
    """

    step: str
    prompt: str
    asked_for: int
    used: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        """Return it as a sentence without its end."""
        who = self.step if self.prompt == self.step else f"{self.step}, {self.prompt}"
        by_count = sorted(self.reasons.items(), key=lambda each: (-each[1], each[0]))
        told = ", ".join(listed([f"{count} × {reason}" for reason, count in by_count], 5))
        return f"{who}: {self.used} of the {self.asked_for} asked for are used ({told or 'no reason given'})"


@dataclass(frozen=True)
class DataSet:
    """What is known of the training data beside its files."""

    examples: int
    mean_output_characters: float | None = None
    shortfalls: list[Shortfall] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """What came of the training: ``summary.json`` of its stage."""

    parameters: int
    examples: int
    steps: int
    tokens: int
    first_loss: float | None
    last_loss: float | None
    held_out_loss: float | None = None


@dataclass(frozen=True)
class Result:
    """What a cell found.

    Attributes:
        model: Row of the comparison.
        arm: Column of the comparison.
        confidence: Of the intervals.
        bootstrap_samples: Behind them.
        seed: Of the bootstrap.
        data: The training data.
        training: The training.
        health: Of the answers of each model.
        judges: The first, then the others; empty where nobody judges.
        measurements: Every number, of the untuned and of the tuned model.
        differences: Tuned minus untuned by measure, paired by instruction.
        contamination: None where it was not looked for.
        version: Of the file.
    """

    model: str
    arm: str
    confidence: float
    bootstrap_samples: int
    seed: int
    data: DataSet
    training: Training
    health: dict[Which, Health]
    judges: list[Judgement]
    measurements: list[Measurement]
    differences: dict[str, PairedDifference]
    contamination: Contamination | None = None
    version: int = VERSION

    def measured(self, which: Which) -> list[Measurement]:
        """Return the numbers of the untuned or of the tuned model."""
        return [m for m in self.measurements if (m.arm == self.arm) is (which == "sft")]


@dataclass(frozen=True)
class Cost:
    """What the replies behind a stage took when they were made, and what is odd about them."""

    replies: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    usd: float
    unpriced: int
    warnings: list[str]


def cost_of(ledger: Path) -> Cost:
    """Read what is in the ledger of a stage.

    Raises:
        UserError: it cannot be read.
    """
    match read_document(ledger):
        case {"value": {**value}, "warnings": warnings}:
            return validated(ledger, {**value, "warnings": warnings}, Cost)
    raise UserError(f"{ledger}: is not the ledger of a stage")


@dataclass(frozen=True)
class Folders:
    """The folders of a stage that each of the two models has."""

    baseline: str
    sft: str


@dataclass(frozen=True)
class CellRecord:
    """How a cell was asked for, how it ended, and what it found.

    Attributes:
        model: Its name.
        arm: The name of the option ``data=``.
        seed: Of the training.
        overrides: The command line.
        config: The whole configuration, resolved.
        status: ``finished`` is everything that was asked for.
        exit_code: 0, 1 for failed work, 2 for what a person can put right.
        until: The kind of stage after which it was told to stop; None: it goes to its result.
        reason: Why it did not finish.
        log: Where that can be read.
        recipe: Everything outside the data that changes results, by its dotted name; None until
            the cell is laid out.
        steps: What the data is made of: the keywords of each step, by its name.
        fingerprint: Of the result, known before it is there.
        stages: Folders by the stages' names.
        executed: What this run did itself.
        seconds: How long this run took.
        costs: By the names of stages.
        result: What it found; None until then, and of a cell that stops earlier.
        annotations: Folders of each judge's verdicts, by the key of the judge.
        scores: Folders of the metrics.
        not_tracked: Why the result is not in Weights & Biases, if it should be.
        version: Of the file.
        folder: Name of the folder that it was read from.
        sweep: Name of the folder around that.
    """

    model: str
    arm: str
    seed: int
    overrides: list[str]
    config: dict[str, Any]
    status: Status = "unfinished"
    exit_code: int = 1
    until: str | None = None
    reason: str | None = None
    log: str | None = None
    recipe: dict[str, Any] | None = None
    steps: dict[str, dict[str, Any]] | None = None
    fingerprint: str | None = None
    stages: dict[str, str] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    seconds: float | None = None
    costs: dict[str, Cost] = field(default_factory=dict)
    result: Result | None = None
    annotations: dict[str, Folders] = field(default_factory=dict)
    scores: Folders | None = None
    not_tracked: str | None = None
    version: int = VERSION
    folder: str = ""
    sweep: str = ""


def read_cell(path: Path) -> CellRecord:
    """Read a ``cell.json``.

    Raises:
        OtherVersionError: another version wrote it.
        UserError: it cannot be read, or a field is not what it should be.
    """
    record = validated(path, _document(path), CellRecord)
    folder = path.absolute().parent
    return replace(record, folder=folder.name, sweep=folder.parent.name)


def write_cell(path: Path, record: CellRecord) -> None:
    """Write ``record`` without secrets."""
    document = asdict(record)
    del document["folder"], document["sweep"]
    write_json(path, redacted(document))


def read_result(path: Path) -> Result:
    """Read a ``result.json``; raises as `read_cell` does."""
    return validated(path, _document(path), Result)


def write_result(path: Path, result: Result) -> None:
    """Write ``result``."""
    write_json(path, asdict(result))


def _document(path: Path) -> Any:
    document = read_document(path)
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        made_by = "a newer" if isinstance(version, int) and version > VERSION else "an older"
        raise OtherVersionError(
            f"{path}: made by {made_by} version of Mini-LIMA: run the sweep again, its stages in"
            " the store are reused as far as they are the same"
        )
    return document
