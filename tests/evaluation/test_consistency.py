import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.statistics import consistency, split_variance, tabulate, win_rate

few = {"seed": 0, "samples": 100}
rows = st.lists(
    st.fixed_dictionaries(
        {
            "instruction": st.sampled_from("abcdef"),
            "model_first": st.sampled_from([True, False, None]),
            "annotator": st.sampled_from(["one", "other"]),
            "preference": st.sampled_from([1, 1.25, 1.5, 2, None]),
        }
    ),
    max_size=40,
)


def verdict(instruction, preference, *, first=True, annotator="one"):
    return {
        "instruction": instruction,
        "preference": preference,
        "model_first": first,
        "annotator": annotator,
    }


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


def test_two_annotators_agree_on_what_both_judged_in_the_same_order():
    (found,) = by_hand(
        [
            *(verdict(i, p) for i, p in (("a", 1), ("b", 1), ("c", 2), ("d", 1))),
            *(verdict(i, p, annotator="other") for i, p in (("a", 1), ("b", 2), ("c", 1.9))),
            verdict("d", 1, first=False, annotator="other"),
        ]
    ).agreements
    assert found.annotators == ("one", "other")
    assert (found.n, found.agreement) == (3, pytest.approx(200 / 3))
    chance = (2 * 1 + 1 * 2) / 9
    assert found.kappa == pytest.approx((2 / 3 - chance) / (1 - chance))


def test_annotators_that_always_say_the_same_agree_by_chance():
    (found,) = by_hand([verdict("a", 1), verdict("a", 1, annotator="other")]).agreements
    assert (found.agreement, found.kappa) == (100, None)


@settings(deadline=None)
@given(found=rows)
def test_whatever_the_rows_figures_are_numbers_or_none(found):
    table = tabulate(found)
    for figures in (consistency(table, **few), split_variance(table), win_rate(table, **few)):
        json.dumps(asdict(figures), allow_nan=False)
    parts = split_variance(table)
    assert all(part is None or part >= 0 for part in (parts.instructions, parts.orders))


@settings(deadline=None)
@given(found=rows)
def test_swapping_model_and_reference_turns_every_figure(found):
    ours = consistency(tabulate(found), **few)
    swapped = [
        {
            **row,
            "preference": row["preference"] and 3 - row["preference"],
            "model_first": None if row["model_first"] is None else not row["model_first"],
        }
        for row in found
    ]
    theirs = consistency(tabulate(swapped), **few)
    assert (ours.order_disagreement, ours.flip_rate, ours.tie_rate) == pytest.approx(
        (theirs.order_disagreement, theirs.flip_rate, theirs.tie_rate)
    )
    assert ours.n_first == theirs.n_second
    if ours.order_effect is not None:
        assert ours.win_rate_first == pytest.approx(100 - theirs.win_rate_second)
        assert ours.order_effect == pytest.approx(theirs.order_effect)
    variances = (asdict(split_variance(tabulate(each))) for each in (found, swapped))
    assert next(variances) == pytest.approx(next(variances))


@settings(deadline=None)
@given(found=rows, data=st.data())
def test_the_order_of_the_rows_does_not_matter(found, data):
    shuffled = data.draw(st.permutations(found))
    one, other = (asdict(consistency(tabulate(each), **few)) for each in (found, shuffled))
    for name in one.keys() - {"order_effect_low", "order_effect_high", "agreements"}:
        assert one[name] == pytest.approx(other[name])
    assert asdict(split_variance(tabulate(found))) == pytest.approx(
        asdict(split_variance(tabulate(shuffled)))
    )


@settings(deadline=None)
@given(found=rows)
def test_every_instruction_twice_is_every_share_once(found):
    twice = [*found, *({**row, "instruction": row["instruction"] * 2} for row in found)]
    once, doubled = (consistency(tabulate(each), **few) for each in (found, twice))
    for name in ("win_rate_first", "order_effect", "order_disagreement", "flip_rate", "tie_rate"):
        assert getattr(once, name) == pytest.approx(getattr(doubled, name))
    assert doubled.n_both_orders == 2 * once.n_both_orders
