"""Orders, repeats and annotators, and how the variance of a verdict divides among them."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.statistics import consistency, split_variance, tabulate, win_rate
from tests.statistics.rows import row

few = {"seed": 0, "samples": 100}
rows = st.lists(
    st.builds(
        row,
        st.sampled_from("abcdef"),
        st.sampled_from([1, 1.25, 1.5, 2, None]),
        first=st.sampled_from([True, False, None]),
        annotator=st.sampled_from(["one", "other"]),
    ),
    max_size=40,
)


def verdict(instruction, preference, *, first=True, annotator="one"):
    return row(instruction, preference, first=first, annotator=annotator)


def by_hand(found):
    return consistency(tabulate(found), **few)


def test_by_hand():
    found = by_hand(
        [
            verdict("a", 2),
            verdict("a", 1, first=False),
            verdict("b", 2),
            verdict("b", 2),
            verdict("b", 2, first=False),
            verdict("c", 1.5, first=False),
            verdict("c", 1, first=False),
        ]
    )
    assert (found.win_rate_first, found.n_first) == (100, 3)
    assert (found.win_rate_second, found.n_second) == (37.5, 4)
    assert found.order_effect == 62.5
    assert (found.order_disagreement, found.n_both_orders) == (50, 2)
    assert (found.flip_rate, found.n_repeated) == (50, 2)
    assert found.tie_rate == pytest.approx(100 / 7)


@settings(max_examples=40)
@given(found=rows, data=st.data())
def test_figures_are_numbers_or_none_and_know_no_order_and_no_side(found, data):
    table = tabulate(found)
    ours, parts = consistency(table, **few), split_variance(table)
    for figures in (ours, parts, win_rate(table, **few)):
        json.dumps(asdict(figures), allow_nan=False)
    assert all(part is None or part >= 0 for part in (parts.instructions, parts.orders))

    swapped = [
        replace(
            each,
            preference=each.preference and 3 - each.preference,
            model_first=None if each.model_first is None else not each.model_first,
        )
        for each in found
    ]
    theirs = consistency(tabulate(swapped), **few)
    for name in ("order_disagreement", "flip_rate", "tie_rate", "order_effect"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name))
    assert ours.n_first == theirs.n_second
    if ours.order_effect is not None:
        assert ours.win_rate_first == pytest.approx(100 - theirs.win_rate_second)

    shuffled = tabulate(data.draw(st.permutations(found)))
    other = asdict(consistency(shuffled, **few))
    for name in other.keys() - {"order_effect_low", "order_effect_high", "agreements"}:
        assert getattr(ours, name) == pytest.approx(other[name])
    for same in (shuffled, tabulate(swapped)):
        assert asdict(split_variance(same)) == pytest.approx(asdict(parts))

    twice = [*found, *(replace(each, instruction=each.instruction * 2) for each in found)]
    doubled = consistency(tabulate(twice), **few)
    for name in ("win_rate_first", "order_effect", "order_disagreement", "flip_rate", "tie_rate"):
        assert getattr(ours, name) == pytest.approx(getattr(doubled, name))
    assert doubled.n_both_orders == 2 * ours.n_both_orders


def test_annotators_agree_on_what_both_judged_in_the_same_order():
    (found,) = by_hand(
        [
            *(verdict(i, p) for i, p in (("a", 1), ("b", 1), ("c", 2), ("d", 1))),
            *(verdict(i, p, annotator="other") for i, p in (("a", 1), ("b", 2), ("c", 1.9))),
            verdict("d", 1, first=False, annotator="other"),
        ]
    ).agreements
    assert (found.annotators, found.n) == (("one", "other"), 3)
    chance = (2 * 1 + 1 * 2) / 9
    assert found.agreement == pytest.approx(200 / 3)
    assert found.kappa == pytest.approx((2 / 3 - chance) / (1 - chance))
    (same,) = by_hand([verdict("a", 1), verdict("a", 1, annotator="other")]).agreements
    assert (same.agreement, same.kappa) == (100, None)
