"""The statistics on judges with a known truth: do they find it, as often as they say?"""

import numpy as np
import pytest

from mini_lima.statistics import (
    consistency,
    homogeneity_p,
    paired_difference,
    sign_flip_p,
    split_variance,
    two_groups_p,
    win_rate,
)
from tests.statistics.known_judges import Judge

SIMULATIONS = 300
N = 150
COVERED = pytest.approx(0.95, abs=0.03)


def share(found):
    return sum(found) / len(found)


def between(truth, low, high):
    return low <= truth <= high


@pytest.mark.parametrize(("n", "repeats"), [(N, 3), (30, 1)])
def test_the_interval_of_a_win_rate_covers_the_truth(n, repeats):
    judge, rng = Judge(), np.random.default_rng(1)
    covered = []
    for seed in range(SIMULATIONS):
        verdicts = judge.verdicts(rng, judge.shares(rng, n), repeats=repeats)
        found = win_rate(verdicts, seed=seed, samples=400)
        covered.append(between(judge.win_rate, found.low, found.high))
    assert share(covered) == COVERED


def test_the_interval_of_a_difference_covers_the_truth_though_verdicts_fail_in_one_order():
    good = Judge(0.35, 0.65, failing_first=0.3)
    bad, rng = Judge(0.25, 0.55, failing_second=0.3), np.random.default_rng(2)
    covered = []
    for seed in range(SIMULATIONS):
        shares = bad.shares(rng, N)
        a, b = good.verdicts(rng, shares + 0.1), bad.verdicts(rng, shares)
        found = paired_difference(a, b, seed=seed, samples=400)
        covered.append(between(10, found.low, found.high))
    assert share(covered) == COVERED


def test_the_bounds_hold_the_truth_where_the_interval_loses_it():
    judge, rng = Judge(failing_wins=0.5), np.random.default_rng(4)
    shares = judge.shares(rng, 4000)
    seen = win_rate(judge.verdicts(rng, shares), seed=0, samples=400)
    assert not between(judge.win_rate, seen.low, seen.high)
    assert between(judge.win_rate, seen.low_if_failures_lose, seen.high_if_failures_win)
    assert seen.is_incomplete()


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_the_variance_is_split_into_its_parts(bias):
    judge, rng = Judge(bias=bias), np.random.default_rng(5)
    found = split_variance(judge.verdicts(rng, judge.shares(rng, 20_000), repeats=3))
    parts = (found.instructions, found.orders, found.repeats)
    assert parts == pytest.approx(judge.variances, abs=0.004)


P_VALUES = {
    "sign flips": lambda runs, **chance: sign_flip_p(runs[0] - runs[1], **chance),
    "two groups": lambda runs, **chance: two_groups_p(runs[0], np.arange(60) < 25, **chance),
    "homogeneity": lambda runs, **chance: homogeneity_p(runs.T, **chance),
}


def test_chance_alone_is_found_significant_at_most_one_time_in_twenty():
    judge, rng = Judge(), np.random.default_rng(9)
    alarms = {test: [] for test in P_VALUES}
    for seed in range(SIMULATIONS):
        shares = judge.shares(rng, 60)
        runs = np.array([judge.verdicts(rng, shares, orders=(1,)).win for _ in range(3)])
        for test, each in alarms.items():
            each.append(P_VALUES[test](runs, seed=seed, samples=200) <= 0.05)
    for each in alarms.values():
        assert 0.01 <= share(each) <= 0.08


def test_the_order_effect_and_how_often_verdicts_differ_are_those_of_the_judge():
    judge, rng, covered = Judge(0.4, 0.4, bias=0.15), np.random.default_rng(3), []
    for seed in range(SIMULATIONS):
        found = consistency(judge.verdicts(rng, judge.shares(rng, N)), seed=seed, samples=200)
        covered.append(between(30, found.order_effect_low, found.order_effect_high))
    assert share(covered) == COVERED
    found = consistency(
        judge.verdicts(rng, judge.shares(rng, 20_000), repeats=2), seed=0, samples=9
    )
    assert found.order_disagreement == pytest.approx(100 * (0.55 * 0.75 + 0.45 * 0.25), abs=1)
    assert found.flip_rate == pytest.approx(100 * (0.55 * 0.45 + 0.25 * 0.75), abs=1)


def test_the_variance_of_a_difference_loses_what_models_share_and_what_is_not_measured_is_kept():
    judge, rng = Judge(bias=0.1), np.random.default_rng(7)
    shares = judge.shares(rng, 20_000)
    instructions, orders, repeats = judge.variances
    found = split_variance(*(judge.verdicts(rng, shares, repeats=2) for _ in range(2)))
    assert (found.instructions, found.orders) == pytest.approx((0, 0), abs=0.006)
    assert found.repeats == pytest.approx(2 * repeats, abs=0.006)
    once = split_variance(judge.verdicts(rng, shares))
    assert once.repeats is None
    assert (once.instructions, once.orders) == pytest.approx(
        (instructions + repeats / 2, orders + repeats / 2), abs=0.006
    )
