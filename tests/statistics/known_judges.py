"""Judges whose truth is known: what the statistics say of their verdicts can be checked."""

from dataclasses import dataclass

import numpy as np

from mini_lima.statistics import Verdicts


@dataclass(frozen=True)
class Judge:
    """Prefers the model on instruction k with probability ``share[k]``, ± ``bias`` by its place.

    ``share`` is drawn evenly between ``low`` and ``high``, which leave room for the bias.
    """

    low: float = 0.3
    high: float = 0.6
    bias: float = 0.2
    failing_first: float = 0.0
    failing_second: float = 0.0
    failing_wins: float = 0.0

    @property
    def win_rate(self):
        return 100 * (self.low + self.high) / 2

    @property
    def variances(self):
        """Of a verdict: between instructions, orders and repeats."""
        share = (self.high - self.low) ** 2 / 12
        mean = self.win_rate / 100
        return share, self.bias**2, mean - (mean**2 + share) - self.bias**2

    def shares(self, rng, n):
        return rng.uniform(self.low, self.high, size=n)

    def verdicts(self, rng, shares, *, orders=(1, 0), repeats=1):
        """Judge every instruction in ``orders`` (1: the model first), ``repeats`` times each."""
        n = len(shares)
        instruction = np.repeat(np.arange(n), len(orders) * repeats)
        first = np.tile(np.repeat(np.array(orders, dtype=float), repeats), n)
        chance = shares[instruction] + self.bias * (2 * first - 1)
        win = (rng.uniform(size=len(chance)) < chance).astype(float)
        failing = np.where(first == 1, self.failing_first, self.failing_second)
        win[rng.uniform(size=len(win)) < failing + self.failing_wins * win] = np.nan
        return Verdicts(
            instruction=instruction,
            model_first=first,
            annotator=np.zeros(len(win), dtype=np.int64),
            win=win,
            instructions=tuple(map(str, range(n))),
            annotators=("judge",),
        )
