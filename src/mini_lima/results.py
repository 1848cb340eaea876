"""Numbers with what one needs to believe them, and what a cell leaves behind, as types.

How numbers are computed is `mini_lima.evaluation`'s and `mini_lima.statistics`' part, how they are
shown `mini_lima.report`'s: all know these types and not each other. What is not known is None,
never NaN; percentages run from 0 to 100.

`Result` is ``result.json``, which the stage that summarises a cell writes, `CellRecord` is
``cell.json``, which the cell's process writes. Everything that compares, shows or tracks cells
reads them through here, so a file that does not fit is refused with file and field. One of another
version is not guessed at: running its sweep again makes it from the stages in the store.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mini_lima.contamination import Contamination
from mini_lima.errors import UserError
from mini_lima.files import read_document, validated, write_json
from mini_lima.redact import without_secrets

CELL, RESULT = "cell.json", "result.json"
VERSION = 1
"""Of both files; raised when a reader of the earlier one would misread it."""
Which = Literal["baseline", "sft"]
Status = Literal["unfinished", "finished", "failed", "stopped"]
Better = Literal["higher", "lower"]
Verdict = Literal["better", "worse", "higher", "lower", "cannot tell"]
"""``higher`` and ``lower`` are said of a measure of which neither is better."""

BASELINE = "baseline"
LONGEST = "longest"
"""The control annotator that prefers the longer output, whatever is in it."""
MOST_FAILED = 0.02
"""Share of failed verdicts beyond which a result is incomplete."""


@dataclass(frozen=True)
class Measurement:
    """One number: a judge's win rate, or a metric's mean.

    Attributes:
        model: Of which model.
        arm: ``baseline``, or the data it was trained on: the name of the option ``data=``.
        seed: Of the training; None of a baseline.
        measure: What was measured: the metric's name, or by which judge the win rate is.
        unit: Of the value and of the interval's ends; only ``percent`` means something here.
        value: The mean over answers or verdicts; None where there is none.
        low: Of its interval over instructions.
        high: Of the same.
        n: Answers or verdicts behind it.
        failed: Those that should be behind it and are not.
        better: Which direction is better, if one is.
        judged: Whether it is a judge's win rate.
    """

    model: str
    arm: str
    seed: int | None
    measure: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    failed: int
    better: Better | None = None
    judged: bool = False


@dataclass(frozen=True)
class WinRate:
    """A win rate in percent, with what one needs to believe it.

    ``n_total`` counts the verdicts that could be read, as AlpacaEval does, and ``n_failed`` those
    that could not. ``low`` and ``high`` hold the sampling error of the verdicts that are there;
    the two bounds hold what the missing ones could change: the win rate if every failure were a
    loss, and if every failure were a win.
    """

    win_rate: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n_total: int
    n_failed: int
    low_if_failures_lose: float | None
    high_if_failures_win: float | None

    def is_incomplete(self, most_failed: float = MOST_FAILED) -> bool:
        """Whether more than the share ``most_failed`` of the verdicts failed."""
        return self.n_failed > most_failed * (self.n_total + self.n_failed)


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a minus that of b over the ``n`` instructions both have.

    Of percentages it is in percentage points, of anything else in the unit of that.
    """

    difference: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """How often two annotators say the same of an instruction shown in the same order.

    ``agreement`` is a percentage of ``n`` instructions in an order that both judged; ``kappa``
    (Cohen, 1960) is what it exceeds chance by, from 0 to 1, for two annotators who both mostly
    prefer the reference agree by chance.
    """

    annotators: tuple[str, str]
    agreement: float | None
    kappa: float | None
    n: int


@dataclass(frozen=True)
class Consistency:
    """What orders, repeats and annotators change; percent and percentage points.

    ``order_effect`` is the win rate when the model stands first minus that when it stands second,
    with its interval. ``order_disagreement`` is how often a verdict changes with the order, among
    the ``n_both_orders`` instructions judged in both; ``flip_rate`` how often it changes when the
    same is asked again, among ``n_repeated`` instructions in an order.
    """

    win_rate_first: float | None
    n_first: int
    win_rate_second: float | None
    n_second: int
    order_effect: float | None
    order_effect_low: float | None
    order_effect_high: float | None
    order_disagreement: float | None
    n_both_orders: int
    tie_rate: float | None
    flip_rate: float | None
    n_repeated: int
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True)
class VarianceSplit:
    """Variance of one verdict in an order drawn at random, on the scale from 0 (loss) to 1 (win).

    Attributes:
        instructions: Between instructions, each averaged over both orders and endless repeats.
        orders: Between the two orders of an instruction: position bias, the same for all
            instructions or not. None where no instruction was judged in both; then it is within
            ``instructions``.
        repeats: Between repeats of the same question. None where nothing was asked twice; then it
            is within the other two.
        n: Instructions behind it.
    """

    instructions: float | None
    orders: float | None
    repeats: float | None
    n: int


@dataclass(frozen=True)
class SameLength(WinRate):
    """The win rate over the ``n_pairs`` whose lengths are within the factor ``ratio``."""

    ratio: float
    n_pairs: int


@dataclass(frozen=True)
class LengthControlled:
    """The length-controlled win rate in percent with its interval, or why there is none."""

    win_rate: float | None
    low: float | None
    high: float | None
    undefined: str | None


@dataclass(frozen=True)
class OverSeeds:
    """What the trainings of a cell, each with another seed, come to in one measure.

    Attributes:
        values: By seed; None of a seed without any answer that could be measured.
        value: Their mean.
        spread: Their standard deviation, as it is seen; None below two seeds.
        low: Of the interval, over instructions and seeds.
        high: Of the same.
        n: Answers or verdicts that count, of all seeds.
        failed: Those that should and do not.
    """

    values: dict[int, float | None]
    value: float | None
    spread: float | None
    low: float | None
    high: float | None
    n: int
    failed: int


@dataclass(frozen=True)
class Contrast:
    """A difference between cells in one measure: percentage points, or the measure's own unit.

    Attributes:
        kind: ``sft`` (an arm against the baseline), ``data`` (arm against arm) or ``interaction``
            (such an effect against another: between two models, or of four arms).
        name: What minus what.
        measure: In what.
        unit: Of the difference; percentages differ by points.
        row: Row of the table that it is about; None of an interaction between two.
        terms: Arms with their signs.
        difference: The mean over instructions.
        low: Of its bootstrap interval over instructions, widened by what seeds add.
        high: Of the same.
        p_value: Of the sign-flip test, on its own; with several seeds, of the interval's ends if
            that is larger.
        p_holm: The same within the family (Holm, 1979).
        family: How many contrasts that is corrected for: all of this measure.
        n: Instructions measured, in a common order, for every cell involved.
        detectable: The smallest true difference that this design would have found with a
            probability of 80 percent, in this family.
        lowest: The difference if every failed verdict went against it; None of a measure without
            bounds.
        highest: The difference if every failed verdict went for it.
        by_length: The same contrast if the longer output always won; None of a metric.
        without_hits: The same contrast without the instructions that are in the training data of
            an arm involved; None where there is no such instruction.
        verdict: From ``p_holm``.
        words: The verdict as a sentence.
        seeds: Training seeds of each cell involved, of the one that has the fewest.
        seed_error: The part of the standard error that comes from seeds; None where all have one,
            and nobody knows what another would change.
        judged: Whether the measure is a judge's win rate.
    """

    kind: Literal["sft", "data", "interaction"]
    name: str
    measure: str
    unit: str
    row: str | None
    terms: dict[str, int]
    difference: float | None
    low: float | None
    high: float | None
    p_value: float
    p_holm: float
    family: int
    n: int
    detectable: float | None
    lowest: float | None
    highest: float | None
    by_length: PairedDifference | None = None
    without_hits: PairedDifference | None = None
    verdict: Verdict = "cannot tell"
    words: str = ""
    seeds: int = 1
    seed_error: float | None = None
    judged: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A contrast that was asked for and cannot be made."""

    name: str
    measure: str
    reason: str


@dataclass(frozen=True)
class Found:
    """The contrasts of a comparison, and those that could not be made."""

    contrasts: list[Contrast] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True)
class Together:
    """What the seeds of one place of the table come to in one measure.

    Attributes:
        row: Title of the row.
        arm: The column.
        measure: In what.
        unit: Of it.
        over: Their values, mean, spread and interval.
        difference: To the baseline, over instructions and seeds.
    """

    row: str
    arm: str
    measure: str
    unit: str
    over: OverSeeds
    difference: PairedDifference


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
class DataSet:
    """What is known of the training data beside its files."""

    examples: int
    mean_output_characters: float | None = None


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
    book = read_document(ledger)
    return validated(ledger, {**book["value"], "warnings": book["warnings"]}, Cost)


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
    """Write ``record`` without the values of the keys that its configuration names."""
    document = asdict(record)
    del document["folder"], document["sweep"]
    write_json(path, without_secrets(document, os.environ))


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
