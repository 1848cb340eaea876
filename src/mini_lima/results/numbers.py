"""Numbers with what one needs to believe them, as types.

How they are computed is `mini_lima.evaluation`'s and `mini_lima.statistics`' part, how they are
shown `mini_lima.report`'s: all know these types and not each other. What is not known is None,
never NaN; percentages run from 0 to 100.
"""

from dataclasses import dataclass, field
from typing import Literal

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
