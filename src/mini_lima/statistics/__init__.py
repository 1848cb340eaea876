"""What a win rate is and how sure one can be of it: pure functions on arrays.

A win rate alone has misled this field: the same answers, judged three times, gave 29, 14 and 18
percent. So no function here returns one without the number of verdicts, the number that failed
and an interval. The unit is the instruction: several verdicts on one instruction (orders, repeats)
are no new evidence about other instructions, so whole instructions are resampled and flipped.

Preferences are AlpacaEval's: 1 the reference wins, 2 the model wins, 1.5 a tie, anything between
a weighted verdict, NaN or None a verdict that failed. What cannot be known is None, never NaN.
Shares of a whole are percent, differences percentage points.

    table        verdict rows as columns
    win_rate     the win rate, its interval and bounds; a paired difference
    resampling   the bootstrap over instructions
    permutation  p-values without a model of the data, and Holm's correction
    consistency  orders, repeats, ties, annotators
    seeds        what another training seed would change, and what difference a design can find
    variance     how much of a verdict is the instruction, the order, the repeat
"""

from mini_lima.measured import Agreement, Consistency, PairedDifference, VarianceSplit, WinRate
from mini_lima.statistics.consistency import consistency
from mini_lima.statistics.permutation import (
    association_p,
    holm,
    homogeneity_p,
    sign_flip_p,
    two_groups_p,
)
from mini_lima.statistics.resampling import (
    bootstrap_interval,
    percentile_interval,
    resampled_totals,
)
from mini_lima.statistics.seeds import (
    SeedError,
    Spread,
    detectable,
    p_over_seeds,
    seed_error,
    spread,
    widened,
)
from mini_lima.statistics.table import (
    Verdicts,
    by_instruction,
    mean_of,
    tabulate,
    totals,
)
from mini_lima.statistics.variance import split_variance
from mini_lima.statistics.win_rate import (
    interval_of_means,
    interval_of_rates,
    paired_difference,
    win_rate,
)

__all__ = [
    "Agreement",
    "Consistency",
    "PairedDifference",
    "SeedError",
    "Spread",
    "VarianceSplit",
    "Verdicts",
    "WinRate",
    "association_p",
    "bootstrap_interval",
    "by_instruction",
    "consistency",
    "detectable",
    "holm",
    "homogeneity_p",
    "interval_of_means",
    "interval_of_rates",
    "mean_of",
    "p_over_seeds",
    "paired_difference",
    "percentile_interval",
    "resampled_totals",
    "seed_error",
    "sign_flip_p",
    "split_variance",
    "spread",
    "tabulate",
    "totals",
    "two_groups_p",
    "widened",
    "win_rate",
]
