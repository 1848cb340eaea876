"""What a win rate is and how sure one can be of it: pure functions on arrays.

A win rate alone has misled this field: the same answers, judged three times, gave 29, 14 and 18
percent. So no function here returns one without the number of verdicts, the number that failed
and an interval. The unit is the instruction: several verdicts on one instruction (orders, repeats)
are no new evidence about other instructions, so whole instructions are resampled and flipped.

Preferences are AlpacaEval's: 1 the reference wins, 2 the model wins, 1.5 a tie, anything between
a weighted verdict, NaN or None a verdict that failed. What cannot be known is None, never NaN.
Shares of a whole are percent, differences percentage points.

    table        verdicts and scores as columns
    intervals    the win rate with its interval and bounds; the bootstrap over instructions
    cells        differences between cells; what another training seed would change
    permutation  p-values without a model of the data, and Holm's correction
    consistency  orders, repeats, ties, annotators
    variance     how much of a verdict is the instruction, the order, the repeat
"""

from mini_lima.statistics.cells import (
    SeedError,
    Seeds,
    Spread,
    detectable,
    differences,
    estimate,
    over_seeds,
    p_over_seeds,
    paired_difference,
    scale_of,
    scaled,
    seed_error,
    spread,
    widened,
)
from mini_lima.statistics.consistency import consistency
from mini_lima.statistics.intervals import (
    Drawn,
    bootstrap_interval,
    percentile_interval,
    win_rate,
)
from mini_lima.statistics.permutation import (
    association_p,
    holm,
    homogeneity_p,
    sign_flip_p,
    two_groups_p,
)
from mini_lima.statistics.table import Verdicts, tabulate, tabulate_scores
from mini_lima.statistics.variance import split_variance

__all__ = [
    "Drawn",
    "SeedError",
    "Seeds",
    "Spread",
    "Verdicts",
    "association_p",
    "bootstrap_interval",
    "consistency",
    "detectable",
    "differences",
    "estimate",
    "holm",
    "homogeneity_p",
    "over_seeds",
    "p_over_seeds",
    "paired_difference",
    "percentile_interval",
    "scale_of",
    "scaled",
    "seed_error",
    "sign_flip_p",
    "split_variance",
    "spread",
    "tabulate",
    "tabulate_scores",
    "two_groups_p",
    "widened",
    "win_rate",
]
