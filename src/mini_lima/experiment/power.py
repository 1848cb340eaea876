"""What a design could find, before any of it is paid for.

The variance of the difference between two models' verdicts on an instruction has three parts, and
each is paid for in its own coin: instructions, both orders, repeats. Put together they give the
standard error of the difference, and that gives the smallest true difference which the design would
find four times in five. A study that cannot find what it looks for should not be run.

How noisy a judge is comes from AlpacaEval's own measurements of its annotators, which the library
ships, or is measured on an earlier run. What a source cannot tell is set so that a design never
looks better than it is.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mini_lima.audit.folder import read_folder
from mini_lima.audit.order import find_order
from mini_lima.errors import UserError
from mini_lima.statistics import SeedError, detectable, split_variance, tabulate

TOKENS = (1120, 5)
"""Tokens of a prompt and an answer: a run of ``chatgpt`` over AlpacaEval's 805 took 1,125 a verdict
(the mean of the 405 for which the endpoint reported usage), its answers being "Output (a)"."""

LARGEST = 1_000_000
"""Of every number of a design: beyond it figures mean nothing, and floats end."""

Orders = Literal["one", "both"]


@dataclass(frozen=True)
class Noise:
    """Variance of the difference between two models' verdicts, wins counting 1 and losses 0.

    Attributes:
        instructions: Between instructions: what no asking twice can remove.
        orders: Through who stands first, where only one order is asked.
        repeats: Of one asking.
        source: Where the figures are from.
    """

    instructions: float
    orders: float
    repeats: float
    source: str


def noise_of_annotator(annotator: str, win_rate: float) -> Noise:
    """Return the noise of one of AlpacaEval's annotators, from the table that the library ships.

    Its "Variance" is how often, in percent, one annotation differs from the majority of the three
    others that the annotator gave on the same pair, each in an order drawn again (Dubois et al.,
    AlpacaFarm, 2023; 648 pairs, half of them wins). Taken as how often two verdicts on a pair
    differ, it is twice the variance within a pair, out of a quarter in all; the same share is
    assumed at other win rates. The table cannot tell orders from repeats: all of it counts as
    repeats, which is never too optimistic. Two models are taken to be independent.

    Args:
        annotator: Its name.
        win_rate: Expected, in percent.

    Raises:
        UserError: the table has no such annotator, or a win rate at which nothing varies.
    """
    if not 0 < win_rate < 100:
        raise UserError(f"a win rate between 0 and 100 percent is needed, found {win_rate:g}")
    within = _variance_within(annotator) / (100 * 2 * 0.25)
    total = win_rate / 100 * (1 - win_rate / 100)
    return Noise(
        instructions=2 * total * (1 - within),
        orders=0.0,
        repeats=2 * total * within,
        source=f"{annotator} in AlpacaEval's table of annotators, at a win rate of {win_rate:g}%",
    )


def noise_of_folders(paths: Sequence[Path]) -> Noise:
    """Return the noise measured on earlier verdicts by one annotator.

    What was not measured, since nothing was asked twice or in both orders, is within the part of
    the instructions, as if asking again gained nothing: never too optimistic.

    Args:
        paths: A result folder, and a second model to be independent of the first and as noisy; or
            two, of two models on the same instructions.

    Raises:
        UserError: other folders than that.
    """
    if len(paths) > 2:
        raise UserError(f"noise is measured on one folder or on two, not on {len(paths)}")
    tables = []
    for path in paths:
        tables.append(tabulate(find_order(read_folder(path))[1]))
        if len(tables[-1].annotators) > 1:
            raise UserError(f"{path} has several annotators, each with a noise of its own")
    split = split_variance(*tables)
    if split.instructions is None:
        raise UserError(
            f"{', '.join(map(str, paths))}: at least two instructions with a verdict for every "
            "model are needed to measure noise"
        )
    models = 2 if len(paths) == 1 else 1
    unknown = [
        name
        for name, part in (("orders", split.orders), ("repeats", split.repeats))
        if part is None
    ]
    return Noise(
        instructions=models * split.instructions,
        orders=models * (split.orders or 0.0),
        repeats=models * (split.repeats or 0.0),
        source=f"measured on {split.n} instructions"
        + (f"; not measured: {', '.join(unknown)}" if unknown else ""),
    )


def _variance_within(annotator: str) -> float:
    """Return the table's "Variance" of ``annotator``, in percent."""
    library = find_spec("alpaca_eval")
    if library is None or library.origin is None:
        raise UserError("alpaca_eval is not installed: install the project's requirements again")
    path = Path(library.origin).parent / "leaderboards/evaluators/evaluators_leaderboard.csv"
    with path.open(encoding="utf-8", newline="") as file:
        table = {row[""]: row["Variance"] for row in csv.DictReader(file)}
    known = {name: float(variance) for name, variance in table.items() if variance}
    if annotator not in known:
        raise UserError(
            f"AlpacaEval's table has no variance of an annotator {annotator!r}: choose one of "
            f"{', '.join(known)}, or measure it on an earlier result folder"
        )
    return known[annotator]


@dataclass(frozen=True)
class Design:
    """A design and what it can find, in percentage points of win rate.

    Attributes:
        orders: ``one``, drawn for each instruction, or ``both``.
        repeats: How often each question is asked.
        verdicts: In all.
        difference: The smallest difference between two cells of a model that it finds, tested alone.
        in_family: The same among all contrasts of the grid (Holm).
        interaction: The smallest interaction that it finds, among all contrasts; None where there
            is none, with one model or one arm.
        usd: Its cost; None without prices.
    """

    orders: Orders
    repeats: int
    verdicts: int
    difference: float
    in_family: float
    interaction: float | None
    usd: float | None


@dataclass(frozen=True)
class Retraining:
    """Training several times: ``seeds`` of each tuned model, whose win rates differ by ``sd``.

    ``sd`` is the standard deviation between seeds in percentage points, without what the verdicts'
    own noise adds to it.
    """

    seeds: int
    sd: float

    def error(self, cells: int) -> SeedError:
        """What seeds add to a sum or difference of ``cells`` tuned models, in squared points."""
        return SeedError(cells * self.sd**2 / self.seeds, cells * (self.seeds - 1))


def family_size(arms: int, models: int) -> int:
    """Return how many contrasts a grid asks for, if any two of its arms differ in one step.

    They are those of `contrasts.questions`: each arm − baseline and each pair of arms for every
    model, and each pair between every two models. Arms that differ in more steps are not paired,
    and a declaration may ask for less: this is the most that has to be corrected for.
    """
    pairs = math.comb(arms, 2)
    return arms * models + pairs * (models + math.comb(models, 2))


def designs(
    noise: Noise,
    *,
    n: int,
    repeats: Sequence[int],
    models: int = 2,
    arms: int = 2,
    retraining: Retraining | None = None,
    confidence: float = 0.95,
    usd_per_verdict: float | None = None,
) -> list[Design]:
    """Lay out the designs for a grid of ``models`` × (baseline and ``arms``).

    Args:
        noise: Of the judge.
        n: Instructions.
        repeats: Numbers of repeats to try, each with one order and with both.
        models: Of the grid.
        arms: Data sets that each model is tuned on; see `family_size` for the contrasts.
        retraining: With several seeds; differences are then between two tuned models, or of the
            only one from its baseline. That each seed's answers are judged again is not counted
            as a gain.
        confidence: 1 less the level of the tests.
        usd_per_verdict: None leaves the cost open.
    """
    family = family_size(arms, models)
    tuned = min(arms, 2)
    found = []
    for orders, asked in (("one", 1), ("both", 2)):
        for times in repeats:
            variance = noise.instructions + noise.repeats / (asked * times)
            variance += noise.orders if asked == 1 else 0
            error = 100 * math.sqrt(variance / n)
            trained = retraining.seeds if retraining else 1
            verdicts = n * asked * times * (1 + arms * trained) * models
            of_one_model = retraining.error(tuned) if retraining else None
            of_two_models = retraining.error(2 * tuned) if retraining else None
            found.append(
                Design(
                    orders="one" if orders == "one" else "both",
                    repeats=times,
                    verdicts=verdicts,
                    difference=detectable(error, confidence=confidence, seeds=of_one_model),
                    in_family=detectable(
                        error, confidence=confidence, family=family, seeds=of_one_model
                    ),
                    # Two independent differences: twice the variance.
                    interaction=detectable(
                        error * math.sqrt(2),
                        confidence=confidence,
                        family=family,
                        seeds=of_two_models,
                    )
                    if arms > 1 and models > 1
                    else None,
                    usd=None if usd_per_verdict is None else verdicts * usd_per_verdict,
                )
            )
    return found


def table(
    noise: Noise,
    *,
    n: int,
    repeats: Sequence[int],
    models: int = 2,
    arms: int = 2,
    retraining: Retraining | None = None,
    usd_per_verdict: float | None = None,
) -> str:
    """Return the designs as a table for a terminal; see `designs` for the arguments.

    Raises:
        UserError: a number that no design has, or a spread between fewer than two seeds.
    """
    if retraining and (retraining.seeds < 2 or not 0 <= retraining.sd <= 100):
        raise UserError("a spread of 0 to 100 points is between at least 2 seeds: --seeds 3")
    counts = [("n", n), ("models", models), ("arms", arms), *(("repeats", r) for r in repeats)]
    for name, number in counts:
        if not 1 <= number <= LARGEST:
            raise UserError(f"{name} must be from 1 to {LARGEST}, found {number:.6g}")
    lines = [["orders", "repeats", "verdicts", "difference", "in family", "interaction", "dollars"]]
    for design in designs(
        noise,
        n=n,
        repeats=repeats,
        models=models,
        arms=arms,
        retraining=retraining,
        usd_per_verdict=usd_per_verdict,
    ):
        figures = (design.difference, design.in_family, design.interaction)
        lines.append(
            [design.orders, str(design.repeats), f"{design.verdicts:,}"]
            + ["–" if figure is None else f"{figure:.1f}" for figure in figures]
            + ["–" if design.usd is None else f"{design.usd:,.2f}"]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    aligned = [
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join(
        [
            f"{n} instructions, {_counted(models, 'model')} × (baseline and {_counted(arms, 'arm')})",
            f"noise: {noise.source}",
            "training: one seed; what another would change is in none of these figures"
            if retraining is None
            else f"training: {retraining.seeds} seeds with sd {retraining.sd:g} between them",
            "",
            *aligned,
            "",
            "difference: the smallest of an arm from the baseline or from another arm that is found "
            "four times in five,\nin points of win rate, when it is the only question; in family: "
            f"corrected for {_counted(family_size(arms, models), 'contrast')}, the most that\n"
            "such a grid asks for: each arm with the baseline, each two arms, and the latter between "
            "models; interaction:\nhow much more two arms differ in one model than in another, "
            "corrected for as many. 95% confidence.",
        ]
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
