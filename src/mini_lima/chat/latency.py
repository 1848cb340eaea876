"""How long answers took: percentiles of any number of calls in a handful of numbers.

Durations are counted in classes that grow by 5%, so that ledgers of a hundred thousand calls stay
small and two of them merge exactly. A percentile read from the classes is within 2.5% of the true
one.
"""

import math
from dataclasses import dataclass, field

GROWTH = 1.05
SHORTEST = 1e-4


@dataclass
class Latency:
    """Durations in seconds; ``classes`` counts them by the power of `GROWTH` they lie above.

    Keys are texts because JSON knows no others.
    """

    classes: dict[str, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one call."""
        number = str(math.floor(math.log(max(seconds, SHORTEST), GROWTH)))
        self.classes[number] = self.classes.get(number, 0) + 1

    def percentile(self, share: float) -> float | None:
        """The duration within which ``share`` (0 to 1) of the calls were answered; None of none."""
        rank = math.ceil(share * sum(self.classes.values()))
        for number, count in sorted((int(key), count) for key, count in self.classes.items()):
            rank -= count
            if rank <= 0:
                return float(GROWTH ** (number + 0.5))
        return None
