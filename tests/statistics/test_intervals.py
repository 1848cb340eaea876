"""The win rate is AlpacaEval's; its interval, its bounds, and what they do not depend on."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.evaluation.library import metric
from mini_lima.statistics import bootstrap_interval, paired_difference, tabulate, win_rate
from tests.statistics.rows import row, verdicts

judged = st.one_of(st.sampled_from([1.0, 1.5, 2.0]), st.floats(1, 2))
unread = st.one_of(judged, st.none())
few = {"seed": 0, "samples": 100}


@settings(max_examples=40)
@given(preferences=st.lists(judged, min_size=2, max_size=80))
def test_win_rate_and_standard_error_are_alpaca_evals(preferences):
    theirs, ours = metric(preferences), win_rate(verdicts(preferences), **few)
    assert ours.win_rate == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert ours.standard_error == pytest.approx(theirs["standard_error"], abs=1e-9)
    assert ours.n_total == theirs["n_total"]


@settings(max_examples=40)
@given(
    preferences=st.lists(st.lists(unread, min_size=3, max_size=3), min_size=1, max_size=30),
    data=st.data(),
)
def test_every_verdict_is_counted_failures_bound_it_and_order_does_not_matter(preferences, data):
    found = win_rate(verdicts(preferences), **few)
    read = [p for each in preferences for p in each if p is not None]
    assert (found.n_total, found.n_failed) == (len(read), 3 * len(preferences) - len(read))
    theirs = metric(read)["win_rate"]
    assert found.win_rate == (None if theirs is None else pytest.approx(theirs, abs=1e-9))
    if found.win_rate is not None:
        assert -1e-9 <= found.low_if_failures_lose <= found.win_rate + 1e-9
        assert found.win_rate - 1e-9 <= found.high_if_failures_win <= 100 + 1e-9
    json.dumps(asdict(found), allow_nan=False)
    shuffled = win_rate(verdicts(data.draw(st.permutations(preferences))), **few)
    for name in asdict(found).keys() - {"low", "high"}:
        other = getattr(shuffled, name)
        assert getattr(found, name) == (None if other is None else pytest.approx(other, abs=1e-9))


def test_unanimous_verdicts_do_not_claim_certainty():
    losses, wins = win_rate(verdicts([1] * 40), **few), win_rate(verdicts([2] * 40), **few)
    assert losses.low == 0
    assert losses.high == pytest.approx(100 * (1 - 0.025 ** (1 / 40)))
    assert (wins.low, wins.high) == pytest.approx((100 - losses.high, 100))


def test_a_value_that_is_no_preference_is_refused():
    for preference in (0, 0.99, 2.01, np.inf, -1):
        with pytest.raises(ValueError, match="between 1 and 2"):
            tabulate([row("a", 1), row("b", preference)])


@settings(max_examples=40)
@given(a=st.lists(unread, max_size=60), data=st.data())
def test_swapping_the_models_negates_their_difference(a, data):
    b = data.draw(st.lists(unread, min_size=len(a), max_size=len(a)))
    if not a:
        return
    one, other = verdicts(a), verdicts(b)
    forth, back = paired_difference(one, other, **few), paired_difference(other, one, **few)
    assert forth.n == back.n == sum(None not in pair for pair in zip(a, b, strict=True))
    if forth.n > 1:
        mirrored = (-back.difference, -back.high, -back.low)
        assert (forth.difference, forth.low, forth.high) == pytest.approx(mirrored, abs=1e-9)


@settings(max_examples=40)
@given(preferences=st.lists(st.sampled_from([1, 1.25, 1.5, 2]), min_size=2, max_size=40))
def test_mirrored_repeated_and_duplicated_verdicts(preferences):
    once = win_rate(verdicts(preferences), **few)
    mirror = win_rate(verdicts([3 - preference for preference in preferences]), **few)
    assert once.win_rate == pytest.approx(100 - mirror.win_rate, abs=1e-9)
    assert (once.low, once.high) == pytest.approx((100 - mirror.high, 100 - mirror.low), abs=1e-9)
    again = win_rate(verdicts(np.repeat(np.array(preferences)[:, None], 3, axis=1)), **few)
    for name in ("win_rate", "standard_error", "low", "high"):
        assert getattr(again, name) == pytest.approx(getattr(once, name), abs=1e-9)
    assert again.n_total == 3 * once.n_total
    assert win_rate(verdicts(preferences * 2), **few).win_rate == pytest.approx(once.win_rate)


def test_a_result_is_incomplete_beyond_two_failures_in_a_hundred():
    for failed, incomplete in ((0, False), (2, False), (3, True)):
        found = win_rate(verdicts([1.0] * (100 - failed) + [None] * failed), **few)
        assert found.is_incomplete() is incomplete
        assert not found.is_incomplete(most_failed=0.1)


def test_only_what_was_judged_for_both_in_the_same_order_is_compared():
    found = paired_difference(verdicts([2, 2, None, 1.5]), verdicts([1, None, 2, 1.5]), **few)
    assert (found.difference, found.n) == (50, 2)

    def told(first, second):
        return tabulate([row("i", first, first=True), row("i", second, first=False)])

    a, b = told(2, None), told(2, 1)
    assert paired_difference(a, b, **few).difference == 0
    assert paired_difference(a, told(None, 1), **few).n == 0
    tie = tabulate([row("i", 1.5)])
    assert paired_difference(b, tie, **few).difference == 0
    with pytest.raises(ValueError, match="different instructions"):
        paired_difference(a, tabulate([row("j", 1)]), **few)


def test_clustering_is_what_keeps_intervals_honest_when_verdicts_repeat():
    rng = np.random.default_rng(21)
    simulations, n, verdicts_each, truth = 200, 60, 6, 0.5
    clustered = pooled = 0
    for seed in range(simulations):
        tendency = rng.uniform(size=(n, 1))
        values = (rng.uniform(size=(n, verdicts_each)) < tendency).astype(float)
        low, high = bootstrap_interval(values, seed=seed, samples=300)
        clustered += low <= truth <= high
        low, high = bootstrap_interval(values.ravel(), seed=seed, samples=300)
        pooled += low <= truth <= high
    assert clustered / simulations >= 0.91
    assert pooled / simulations < 0.85


def test_what_cannot_be_known_is_none_and_the_interval_depends_on_the_seed_alone(monkeypatch):
    nothing = win_rate(tabulate([]), **few)
    assert asdict(nothing) == dict.fromkeys(asdict(nothing)) | {"n_total": 0, "n_failed": 0}
    failed = win_rate(verdicts([None, None]), **few)
    assert (failed.win_rate, failed.low, failed.n_failed) == (None, None, 2)
    assert (failed.low_if_failures_lose, failed.high_if_failures_win) == (0, 100)
    one = win_rate(verdicts([2]), **few)
    assert (one.win_rate, one.standard_error, one.low, one.high) == (100, None, None, None)
    assert paired_difference(verdicts([None]), verdicts([2]), **few).difference is None

    values = np.random.default_rng(3).uniform(size=200)
    first = bootstrap_interval(values, seed=7, samples=500)
    assert first != bootstrap_interval(values, seed=8, samples=500)
    monkeypatch.setattr("mini_lima.statistics.intervals.DRAWN_AT_ONCE", 1000)
    assert first == bootstrap_interval(values, seed=7, samples=500)
