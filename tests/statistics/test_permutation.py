"""P-values by exchanging, and Holm's correction."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.statistics import holm, homogeneity_p, sign_flip_p, two_groups_p

steps = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])


@settings(max_examples=40)
@given(differences=st.lists(steps, max_size=8))
def test_small_cases_are_counted_out(differences):
    flips = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product([1, -1], repeat=len(differences))
    ]
    exact = np.mean([flip >= abs(sum(differences)) for flip in flips])
    assert sign_flip_p(np.array(differences), seed=0) == pytest.approx(exact)


def test_no_p_value_is_zero():
    chance = {"seed": 0, "samples": 99}
    assert sign_flip_p(np.ones(200), **chance) == 0.01
    assert two_groups_p(np.r_[np.zeros(50), np.ones(50)], np.arange(100) < 50, **chance) == 0.01
    assert homogeneity_p(np.tile([0.0, 1.0], (60, 1)), **chance) == 0.01


@settings(max_examples=40)
@given(differences=st.lists(steps, max_size=30), extra=st.integers(0, 5))
def test_swapping_and_untouched_instructions_change_no_p_value(differences, extra):
    found = sign_flip_p(np.array(differences), seed=0, samples=200)
    padded = np.array([0.0] * extra + differences)
    assert sign_flip_p(padded, seed=0, samples=200) == found
    if len(differences) <= 15:
        assert sign_flip_p(-padded, seed=0, samples=200) == found


@settings(max_examples=40)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_keeps_the_order_and_makes_nothing_smaller(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_size = sorted(range(len(p_values)), key=lambda k: p_values[k])
    assert sorted(adjusted) == [adjusted[k] for k in by_size]
    assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))


def test_drawn_signs_come_near_to_all_signs_and_nothing_to_exchange_is_no_evidence(monkeypatch):
    differences = np.random.default_rng(0).choice([-1.0, 0.5, 1.0], size=14)
    exact = sign_flip_p(differences, seed=0)
    monkeypatch.setattr("mini_lima.statistics.permutation.EXACT_BELOW", 0)
    assert sign_flip_p(differences, seed=0, samples=20_000) == pytest.approx(exact, abs=0.01)
    chance = {"seed": 0, "samples": 99}
    assert sign_flip_p(np.zeros(5), **chance) == sign_flip_p(np.zeros(0), **chance) == 1
    assert two_groups_p(np.ones(6), np.arange(6) < 2, **chance) == 1
    assert homogeneity_p(np.ones((4, 3)), **chance) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1]
