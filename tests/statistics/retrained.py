"""Cells that are trained again and again, with known truth: do 95% intervals cover 95 times in 100?

A verdict is a win with probability Φ(mean + instruction + seed + rest), each of the three normal,
so the true win rate over all instructions and all seeds is Φ(mean / √(1 + all variances)), exactly.

    python -m tests.statistics.retrained 500      the table in docs/statistics.md, half an hour
"""

import math
import sys
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tests.evaluation.asked import contrasts
from tests.statistics.rows import row

NORMAL = NormalDist()
TRUE = {"baseline": -1.2, "naive": -0.9, "improved": -0.6}
"""Means of the cells: win rates of about 17 to 31 percent, as the study's are."""


@dataclass(frozen=True)
class Recipe:
    """Standard deviations on the scale of Φ, for every cell."""

    instruction: float = 0.7
    seed: float = 0.1
    rest: float = 0.7

    def truth(self, mean, *, trained=True):
        """The win rate, as a share; a baseline has no seed."""
        seed = self.seed if trained else 0.0
        return NORMAL.cdf(mean / math.sqrt(1 + self.instruction**2 + seed**2 + self.rest**2))

    def shares(self, rng, instructions, mean, seeds, *, trained=True):
        """The chance to win each instruction, shape (seeds, instructions)."""
        seed = rng.normal(0, self.seed if trained else 0.0, (seeds, 1))
        rest = rng.normal(0, self.rest, (seeds, len(instructions)))
        return normal_cdf(mean + instructions + seed + rest)

    def instructions(self, rng, n):
        """What makes each of ``n`` instructions easy or hard for every cell."""
        return rng.normal(0, self.instruction, n)

    def sd_points(self, mean=-0.75):
        """The standard deviation of true win rates between seeds, in points."""
        scale = math.sqrt(1 + self.instruction**2 + self.rest**2)
        return 100 * NORMAL.pdf(mean / scale) * self.seed / scale


def normal_cdf(values):
    return np.vectorize(math.erf, otypes=[float])(values / math.sqrt(2)) / 2 + 0.5


def wins(rng, shares):
    """The mean verdict in both orders, same shape as ``shares``."""
    return rng.binomial(2, shares) / 2


def rows(rng, shares):
    """A verdict in each order on the answers of every seed."""
    found = []
    for of_seed in shares:
        orders = [(first, rng.uniform(size=len(of_seed)) < of_seed) for first in (True, False)]
        found.append(
            [
                row(number, 1.0 + win, first=first)
                for first, won in orders
                for number, win in enumerate(won.tolist())
            ]
        )
    return found


def grid(rng, recipe, n, seeds, models=2):
    """The cells of a grid, all judged on the same instructions."""
    hard = recipe.instructions(rng, n)
    cells = {}
    for model in range(models):
        for arm, mean in TRUE.items():
            trained = arm != "baseline"
            shares = recipe.shares(rng, hard, mean, seeds if trained else 1, trained=trained)
            cells[f"m{model}", arm] = rows(rng, shares)
    return cells


def coverage(recipe, *, n, seeds, times, samples=1000):
    """How often the intervals of (Δ baseline, improved − naive, interaction) hold the truth.

    Returns:
        By kind of contrast: the share that covers, the mean width in points, and the share of
        false alarms of the interaction, which truly is 0, without Holm's correction.
    """
    truth = {name: recipe.truth(m, trained=name != "baseline") for name, m in TRUE.items()}
    true = {
        "m0: naive − baseline": truth["naive"] - truth["baseline"],
        "m0: improved − naive": truth["improved"] - truth["naive"],
        "(improved − naive): m0 − m1": 0.0,
    }
    held, width = {name: [] for name in true}, {name: [] for name in true}
    alarms = []
    for number in range(times):
        rng = np.random.default_rng([number, seeds, n])
        for each in contrasts(grid(rng, recipe, n, seeds), seed=number, samples=samples):
            if each.name in true:
                held[each.name].append(each.low <= 100 * true[each.name] <= each.high)
                width[each.name].append(each.high - each.low)
        alarms.append(each.p_value <= 0.05)  # the interaction is the last
    return {name: (np.mean(held[name]), np.mean(width[name])) for name in true}, np.mean(alarms)


def main(times):
    kinds = "SFT − baseline, % | improved − naive, % | interaction, %"
    print(f"| seeds | sd | {kinds} | alarms, % |")
    print("|---:|---:|---:|---:|---:|---:|")
    for seeds in (1, 2, 3, 5):
        for seed in (0.0, 0.05, 0.1, 0.3):
            recipe = Recipe(seed=seed)
            found, alarms = coverage(recipe, n=200, seeds=seeds, times=times)
            shown = " | ".join(f"{100 * c:.1f} (±{w / 2:.1f})" for c, w in found.values())
            print(
                f"| {seeds} | {recipe.sd_points():.1f} | {shown} | {100 * alarms:.1f} |", flush=True
            )


if __name__ == "__main__":
    main(int(sys.argv[1]))
