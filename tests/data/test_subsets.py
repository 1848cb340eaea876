"""A part of a data set: nested, stable between arms, as large as was asked for or refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data import match, select
from mini_lima.data.examples import Example
from mini_lima.data.subsets import token_counts
from mini_lima.errors import UserError


def examples(lengths: Sequence[int], prefix: str = "task") -> list[Example]:
    return [Example(f"{prefix}{n}", "Say it.", "ab " * (k // 3) + "x" * (k % 3))
            for n, k in enumerate(lengths)]  # fmt: skip


def chosen(data, **how):
    return select(data, **how).examples


data_sets = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(examples)
seeds = st.integers(0, 3)
some = settings(max_examples=30)


def ids(found: Sequence[Example]) -> list[str]:
    return [each.id for each in found]


@some
@given(data_sets, seeds, st.data(), st.sampled_from(["random", "longest", "shortest"]))
def test_a_smaller_choice_is_part_of_a_larger_one_in_the_order_of_the_data(data, seed, draw, by):
    few, many = sorted(draw.draw(st.tuples(*[st.integers(1, len(data))] * 2)))
    small, large = (chosen(data, n=n, by=by, seed=seed) for n in (few, many))
    assert (len(small), len(large)) == (few, many)
    assert [each for each in large if each in small] == small
    assert [each for each in data if each in large] == large
    lengths = [len(each.output) for each in data if each not in large]
    if by == "longest":
        assert min(len(each.output) for each in large) >= max(lengths, default=0)


@some
@given(data_sets, st.data())
def test_a_budget_of_tokens_is_kept_and_the_next_example_would_not_fit(data, draw):
    counted = dict(zip(ids(data), token_counts(data), strict=True))
    budget = draw.draw(st.integers(max(counted.values()), sum(counted.values())))
    report = select(data, tokens=budget)
    used = sum(counted[each.id] for each in report.examples)
    assert used == report.figures["tokens"] <= budget
    if len(report.examples) < len(data):
        longer = chosen(data, n=len(report.examples) + 1)
        assert sum(counted[each.id] for each in longer) > budget


def test_what_cannot_be_had_is_refused_with_numbers():
    for asked, said in (
        ({"n": 5}, "only 4 examples"),
        ({"tokens": 10_000}, "4 examples have only"),
        ({"tokens": 1}, "first example has"),
        ({}, "found none"),
        ({"n": 1, "share": 0.5}, "found n and share"),
        ({"n": 1, "by": "field"}, "field="),
        ({"n": 1, "field": "score"}, "by=field"),
    ):
        with pytest.raises(UserError, match=said):
            select(examples([3, 4, 5, 6]), **asked)
    with pytest.raises(UserError, match="5 examples, this one only 4"):
        match(examples([3] * 4), other=examples([3] * 5))
