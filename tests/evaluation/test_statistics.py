import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.statistics import (
    bootstrap_interval,
    by_instruction,
    paired_difference,
    tabulate,
    win_rate,
)

judged = st.one_of(st.sampled_from([1.0, 1.5, 2.0]), st.floats(1, 2))
verdicts = st.lists(st.one_of(judged, st.none()), max_size=60)
few = {"seed": 0, "samples": 100}


@pytest.fixture(scope="module")
def get_winrate():
    from mini_lima.evaluation.library import undisturbed

    with undisturbed():
        from alpaca_eval.metrics import get_winrate

        yield get_winrate


@settings(deadline=None)
@given(preferences=st.lists(judged, min_size=2, max_size=80))
def test_win_rate_and_standard_error_are_alpaca_evals(get_winrate, preferences):
    theirs = get_winrate([{"preference": preference} for preference in preferences])
    ours = win_rate(preferences, **few)
    assert ours.win_rate == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert ours.standard_error == pytest.approx(theirs["standard_error"], abs=1e-9)
    assert ours.n_total == theirs["n_total"]


@settings(deadline=None)
@given(preferences=verdicts)
def test_every_verdict_is_counted_and_failures_bound_the_win_rate(preferences):
    found = win_rate(preferences, **few)
    assert found.n_total + found.n_failed == len(preferences)
    assert found.n_failed == preferences.count(None)
    if found.win_rate is not None:
        tolerance = 1e-9
        assert found.low_if_failures_lose <= found.win_rate + tolerance
        assert found.win_rate <= found.high_if_failures_win + tolerance
        assert found.low_if_failures_lose >= 0
        assert found.high_if_failures_win <= 100 + tolerance
    json.dumps(asdict(found), allow_nan=False)


def test_failure_bounds_by_hand():
    found = win_rate([2, 1, None, None], **few)
    assert (found.win_rate, found.low_if_failures_lose, found.high_if_failures_win) == (50, 25, 75)


def test_what_cannot_be_known_is_none():
    nothing = win_rate([], **few)
    assert asdict(nothing) == dict.fromkeys(asdict(nothing)) | {"n_total": 0, "n_failed": 0}
    failed = win_rate([None, None], **few)
    assert (failed.win_rate, failed.low, failed.n_failed) == (None, None, 2)
    assert (failed.low_if_failures_lose, failed.high_if_failures_win) == (0, 100)
    one = win_rate([2], **few)
    assert (one.win_rate, one.standard_error, one.low, one.high) == (100, None, None, None)
    assert paired_difference([1], [2], **few).low is None
    assert paired_difference([None], [2], **few).difference is None


def test_unanimous_verdicts_do_not_claim_certainty():
    losses, wins = win_rate([1] * 40, **few), win_rate([2] * 40, **few)
    assert losses.low == 0
    assert losses.high == pytest.approx(100 * (1 - 0.025 ** (1 / 40)))
    assert (wins.low, wins.high) == pytest.approx((100 - losses.high, 100))


@pytest.mark.parametrize("preference", [0, 0.99, 2.01, np.inf, -1])
def test_a_value_that_is_no_preference_is_refused(preference):
    with pytest.raises(ValueError, match="between 1 and 2"):
        win_rate([1, preference], **few)


@settings(deadline=None)
@given(a=verdicts, data=st.data())
def test_swapping_the_models_negates_their_difference(a, data):
    b = data.draw(st.lists(st.one_of(judged, st.none()), min_size=len(a), max_size=len(a)))
    forth, back = paired_difference(a, b, **few), paired_difference(b, a, **few)
    assert forth.n == back.n == sum(None not in pair for pair in zip(a, b, strict=True))
    if forth.n > 1:
        mirrored = (-back.difference, -back.high, -back.low)
        assert (forth.difference, forth.low, forth.high) == pytest.approx(mirrored, abs=1e-9)


@settings(deadline=None)
@given(preferences=st.lists(judged, min_size=2, max_size=60))
def test_swapping_model_and_reference_mirrors_the_win_rate(preferences):
    ours = win_rate(preferences, **few)
    theirs = win_rate([3 - preference for preference in preferences], **few)
    mirrored = (100 - theirs.win_rate, 100 - theirs.high, 100 - theirs.low)
    assert (ours.win_rate, ours.low, ours.high) == pytest.approx(mirrored, abs=1e-9)


@settings(deadline=None)
@given(preferences=verdicts, data=st.data())
def test_order_of_instructions_does_not_matter(preferences, data):
    shuffled = data.draw(st.permutations(preferences))
    one, other = asdict(win_rate(preferences, **few)), asdict(win_rate(shuffled, **few))
    for name in one.keys() - {"low", "high"}:
        assert one[name] == (None if other[name] is None else pytest.approx(other[name], abs=1e-9))


@settings(deadline=None)
@given(preferences=st.lists(judged, min_size=2, max_size=40), times=st.integers(2, 4))
def test_judging_an_instruction_again_is_no_new_instruction(preferences, times):
    once = win_rate(preferences, **few)
    again = win_rate(np.repeat(np.array(preferences)[:, None], times, axis=1), **few)
    assert again.win_rate == pytest.approx(once.win_rate, abs=1e-9)
    assert again.standard_error == pytest.approx(once.standard_error, abs=1e-9)
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert again.n_total == times * once.n_total


@settings(deadline=None)
@given(preferences=st.lists(judged, min_size=1, max_size=40), times=st.integers(2, 4))
def test_duplicating_every_instruction_keeps_the_win_rate(preferences, times):
    assert win_rate(preferences * times, **few).win_rate == pytest.approx(
        win_rate(preferences, **few).win_rate, abs=1e-9
    )


def test_the_win_rate_is_over_all_verdicts_that_could_be_read():
    values = np.array([[1, 2, np.nan], [np.nan] * 3, [2, 2, 2]])
    np.testing.assert_array_equal(by_instruction(values), [1.5, np.nan, 2])
    found = win_rate(values, **few)
    assert (found.win_rate, found.n_total, found.n_failed) == (80, 5, 4)


@settings(deadline=None)
@given(
    preferences=st.lists(
        st.lists(st.one_of(judged, st.none()), min_size=3, max_size=3), min_size=1, max_size=30
    )
)
def test_with_several_verdicts_it_is_still_alpaca_evals(get_winrate, preferences):
    read = [p for row in preferences for p in row if p is not None]
    ours = win_rate(np.array(preferences, dtype=float), **few)
    assert ours.n_total == len(read)
    if read:
        theirs = get_winrate([{"preference": preference} for preference in read])
        assert ours.win_rate == pytest.approx(theirs["win_rate"], abs=1e-9)


@pytest.mark.parametrize(("failed", "incomplete"), [(0, False), (2, False), (3, True)])
def test_a_result_is_incomplete_beyond_two_failures_in_a_hundred(failed, incomplete):
    found = win_rate([1.0] * (100 - failed) + [None] * failed, **few)
    assert found.is_incomplete() is incomplete
    assert win_rate([None], **few).is_incomplete()
    assert not found.is_incomplete(most_failed=0.1)


def test_only_instructions_judged_for_both_are_compared():
    found = paired_difference([2, 2, None, 1.5], [1, None, 2, 1.5], **few)
    assert (found.difference, found.n) == (50, 2)
    with pytest.raises(ValueError, match="cannot pair 2 instructions with 1"):
        paired_difference([1, 2], [1], **few)


def test_verdicts_are_compared_in_the_same_order_only():
    first, second = (
        {"instruction": "i", "model_first": True},
        {
            "instruction": "i",
            "model_first": False,
        },
    )
    a = tabulate([{**first, "preference": 2}, {**second, "preference": None}])
    b = tabulate([{**first, "preference": 2}, {**second, "preference": 1}])
    assert paired_difference(a, b, **few).difference == 0
    apart = tabulate([{**first, "preference": None}, {**second, "preference": 1}])
    assert paired_difference(a, apart, **few).n == 0
    tie = tabulate([{"instruction": "i", "model_first": None, "preference": 1.5}])
    assert paired_difference(b, tie, **few).difference == 0
    with pytest.raises(ValueError, match="different instructions"):
        paired_difference(a, tabulate([{"instruction": "j", "preference": 1}]), **few)


def test_the_interval_depends_on_the_seed_alone(monkeypatch):
    values = np.random.default_rng(3).uniform(size=200)
    first = bootstrap_interval(values, seed=7, samples=500)
    assert first == bootstrap_interval(values, seed=7, samples=500)
    assert first != bootstrap_interval(values, seed=8, samples=500)
    monkeypatch.setattr("mini_lima.statistics.resampling.DRAWN_AT_ONCE", 1000)
    assert first == bootstrap_interval(values, seed=7, samples=500)


@pytest.mark.parametrize("settings", [{"confidence": 0.0}, {"confidence": 1.0}, {"samples": 0}])
def test_an_interval_that_means_nothing_is_refused(settings):
    with pytest.raises(ValueError, match="no interval"):
        bootstrap_interval([0.0, 1.0], seed=0, **settings)


def test_clustering_is_what_keeps_intervals_honest_when_verdicts_repeat():
    rng = np.random.default_rng(21)
    simulations, n, verdicts_each, truth = 300, 60, 6, 0.5
    clustered = pooled = 0
    for seed in range(simulations):
        tendency = rng.uniform(size=(n, 1))
        values = (rng.uniform(size=(n, verdicts_each)) < tendency).astype(float)
        low, high = bootstrap_interval(values, seed=seed, samples=500)
        clustered += low <= truth <= high
        low, high = bootstrap_interval(values.ravel(), seed=seed, samples=500)
        pooled += low <= truth <= high
    assert clustered / simulations >= 0.91
    assert pooled / simulations < 0.85
