"""Cells that were trained several times: their mean, interval, p-value and what could be found."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mini_lima.statistics import (
    SeedError,
    Spread,
    bootstrap_interval,
    p_over_seeds,
    seed_error,
    spread,
    tabulate,
    widened,
    win_rate,
)
from mini_lima.statistics import over_seeds as over_tables
from mini_lima.statistics.cells import quantile, two_sided_p
from tests.evaluation.asked import contrasts
from tests.statistics.retrained import TRUE, Recipe, rows, wins
from tests.statistics.rows import row

few = {"seed": 0, "samples": 300}
verdicts = arrays(
    np.float64,
    st.tuples(st.integers(2, 4), st.integers(2, 8)),
    elements=st.sampled_from([0.0, 0.5, 1.0]),
)


def told(values):
    """Rows of annotations.json whose wins are ``values``, shape (seeds, instructions)."""
    return [
        [row(k, None if np.isnan(win) else 1 + win, first=True) for k, win in enumerate(of_seed)]
        for of_seed in np.atleast_2d(values).tolist()
    ]


def over_seeds(values):
    return over_tables(dict(enumerate(map(tabulate, told(values)))), **few)


def test_the_spread_by_hand():
    found = spread(np.array([[1, 0, 0], [1, 1, 1], [np.nan, 1, 1]])[:2])
    assert (found.seeds, found.between) == (2, pytest.approx(((1 - 1 / 3) ** 2) / 2))
    # Rests are ±1/3 and ∓1/6 twice in both rows: squares 1/3, over 2 degrees of freedom, of 3.
    assert found.noise == pytest.approx((2 * (1 / 9 + 2 / 36)) / 2 / 3)
    assert spread(np.ones((1, 5))) is None
    assert spread(np.array([[1, np.nan], [np.nan, 0]])) is None


@settings(max_examples=20)
@given(values=verdicts, others=st.integers(1, 3))
def test_a_seed_that_is_told_twice_brings_no_spread_and_changes_nothing(values, others):
    alone = values[:1]
    same = np.repeat(alone, 1 + others, axis=0)
    one, many = over_seeds(alone), over_seeds(same)
    assert many.spread == pytest.approx(0, abs=1e-9)
    assert (many.value, many.low, many.high) == pytest.approx((one.value, one.low, one.high))
    baseline = told(values[-1:])
    (single,), (several,) = (
        contrasts({("m", "baseline"): baseline, ("m", "naive"): told(each)}, **few)
        for each in (alone, same)
    )
    assert (several.difference, several.low, several.high) == pytest.approx(
        (single.difference, single.low, single.high)
    )
    assert several.p_value >= single.p_value
    # Verdicts told twice of each seed are no new evidence either.
    (twice,) = contrasts(
        {("m", "baseline"): baseline, ("m", "naive"): [seed * 2 for seed in told(values)]},
        **few,
    )
    (once,) = contrasts({("m", "baseline"): baseline, ("m", "naive"): told(values)}, **few)
    assert (twice.difference, twice.p_value) == pytest.approx((once.difference, once.p_value))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


@settings(max_examples=20)
@given(values=verdicts)
def test_one_seed_is_the_result_without_seeds_to_the_last_digit(values):
    found, expected = over_seeds(values[:1]), win_rate(tabulate(told(values[:1])[0]), **few)
    assert (found.value, found.low, found.high) == (expected.win_rate, expected.low, expected.high)
    assert (found.n, found.failed) == (expected.n_total, expected.n_failed)
    assert (found.spread, found.values) == (None, {0: expected.win_rate})


def test_a_seed_whose_verdicts_all_failed_takes_no_part_and_is_counted():
    values = np.array([[1, 0, 1, 0], [1, 1, 1, 0], [np.nan] * 4])
    found = over_seeds(values)
    assert found.values == {0: 50.0, 1: 75.0, 2: None}
    assert (found.value, found.n, found.failed) == (62.5, 8, 4)
    two = over_seeds(values[:2])
    assert (found.low, found.high, found.spread) == (two.low, two.high, two.spread)
    nothing = over_seeds(values[2:])
    assert (nothing.value, nothing.low, nothing.spread) == (None, None, None)


def test_a_lucky_seed_is_no_improvement_and_a_steady_one_is():
    base = told(np.arange(400) % 10 < 3)

    def found(*tenths):
        shuffled = [np.roll(np.arange(400) % 10 < each, 3 * k) for k, each in enumerate(tenths)]
        cells = {("m", "baseline"): base, ("m", "naive"): told(np.stack(shuffled))}
        (contrast,) = contrasts(cells, **few)
        return contrast

    lucky, steady = found(7, 3, 5), found(5, 5, 5)
    assert (lucky.difference, steady.difference) == pytest.approx((20, 20))
    assert (lucky.verdict, steady.verdict) == ("cannot tell", "better")
    assert lucky.seed_error > 5 > steady.seed_error
    assert "over 3 seeds" in steady.words
    alone = found(5)
    assert (alone.seeds, alone.seed_error) == (1, None)


def test_intervals_cover_the_truth_of_other_seeds_and_without_the_seeds_they_do_not():
    """A quick look; docs/statistics.md has the long one."""
    recipe, n, times = Recipe(seed=0.2), 150, 200
    truth = recipe.truth(TRUE["naive"])
    held = {2: [], 3: [], 5: []}
    without = []
    for number in range(times):
        rng = np.random.default_rng(number)
        hard = recipe.instructions(rng, n)
        values = wins(rng, recipe.shares(rng, hard, TRUE["naive"], 5))
        for seeds, each in held.items():
            some = values[:seeds]
            interval = bootstrap_interval(some.mean(axis=0), seed=number, samples=200)
            error = seed_error([spread(some)])
            low, high = widened(some.mean(), interval, error, 0.95)
            each.append(low <= truth <= high)
        low, high = interval
        without.append(low <= truth <= high)
    assert np.mean(without) < 0.85
    assert np.mean(held[2]) > 0.93
    for seeds in (3, 5):
        assert np.mean(held[seeds]) == pytest.approx(0.95, abs=0.035)


def test_students_t_is_that_of_the_tables_and_p_is_where_the_interval_begins_to_hold_zero():
    found = [quantile(0.05, freedom) for freedom in (1, 2, 4, 30, math.inf)]
    assert found == pytest.approx([12.7062, 4.30265, 2.77645, 2.04227, 1.95996], abs=1e-4)
    assert [two_sided_p(12.7062, 1), two_sided_p(-4.30265, 2)] == pytest.approx(
        [0.05] * 2, abs=1e-5
    )
    for difference, error, n, added in (
        (0.1, 0.05, 20, SeedError(0.01**2, 1)),
        (0.3, 0.1, 805, SeedError(0.05**2, 4)),
        (-0.2, 0.1, 3, SeedError(0.0, 2.5)),
    ):
        p = p_over_seeds(difference, error, n, added)
        for level, holds in ((1.001 * p, False), (0.999 * p, True)):
            half = quantile(level, n - 1) * error
            low, high = widened(
                difference, (difference - half, difference + half), added, 1 - level
            )
            assert (low < 0 < high) is holds
            assert low + high == pytest.approx(2 * difference)


def test_seeds_that_differ_widen_and_a_cell_with_one_seed_is_lent_what_others_show():
    apart = Spread(seeds=3, between=0.03, noise=0.0)
    both, lent = seed_error([apart, apart]), seed_error([apart], alone=1)
    assert (both.variance, both.freedom) == pytest.approx((0.02, 4))
    assert (lent.variance, lent.freedom) == pytest.approx((0.04, 2))
    assert seed_error([], alone=2) is None
    # What verdicts' noise explains is no spread of seeds, but two seeds cannot tell.
    assert seed_error([Spread(3, 0.03, 0.03)]).variance == 0
    assert seed_error([Spread(2, 0.03, 0.03)]).variance == pytest.approx(0.015)


def test_contrasts_of_equal_recipes_raise_no_more_alarms_than_they_say():
    recipe, alarms = Recipe(seed=0.3), []
    for number in range(40):
        rng = np.random.default_rng(number)
        hard = recipe.instructions(rng, 80)
        cells = {
            ("m", arm): rows(rng, recipe.shares(rng, hard, -0.6, 3))
            for arm in ("naive", "improved")
        }
        (found,) = contrasts(cells, seed=number, samples=200)
        alarms.append(found.verdict != "cannot tell")
    assert np.mean(alarms) <= 0.125  # without the seeds it is nearly half
