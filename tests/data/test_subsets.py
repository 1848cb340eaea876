"""A part of a data set: nested, stable between arms, as large as was asked for or refused."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data import match, select
from mini_lima.data.examples import Example, read_examples, write_examples
from mini_lima.data.steps import Forecast, forecast
from mini_lima.data.subsets import (
    as_many_examples,
    as_many_tokens,
    same_lengths,
    selected,
    token_counts,
)
from mini_lima.errors import UserError


def examples(lengths: Sequence[int], prefix: str = "task") -> list[Example]:
    return [Example(f"{prefix}{n}", "Say it.", "ab " * (k // 3) + "x" * (k % 3))
            for n, k in enumerate(lengths)]  # fmt: skip


data_sets = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(examples)
seeds = st.integers(0, 3)


def ids(found: Sequence[Example]) -> list[str]:
    return [each.id for each in found]


@settings(deadline=None)
@given(data_sets, seeds, st.data(), st.sampled_from(["random", "longest", "shortest"]))
def test_a_smaller_choice_is_part_of_a_larger_one_in_the_order_of_the_data(data, seed, draw, by):
    few, many = sorted(draw.draw(st.tuples(*[st.integers(1, len(data))] * 2)))
    small = selected(data, n=few, by=by, seed=seed)
    large = selected(data, n=many, by=by, seed=seed)
    assert (len(small), len(large)) == (few, many)
    assert [each for each in large if each in small] == small
    assert [each for each in data if each in large] == large


@settings(deadline=None)
@given(data_sets, seeds)
def test_arms_with_the_same_ids_keep_the_same_ones_whatever_stands_in_them(data, seed):
    rewritten = [replace(each, output=f"{each.output} and more") for each in reversed(data)]
    half = ids(selected(data, share=0.5, seed=seed))
    assert sorted(half) == sorted(ids(selected(rewritten, share=0.5, seed=seed)))


def test_another_seed_is_another_choice():
    data = examples([5] * 40)
    assert selected(data, n=20, seed=1) != selected(data, n=20, seed=2)


@settings(deadline=None)
@given(data_sets, seeds)
def test_the_longest_are_no_shorter_than_what_is_left_out(data, seed):
    kept = selected(data, share=0.5, by="longest", seed=seed)
    out = [len(each.output) for each in data if each not in kept]
    assert min(len(each.output) for each in kept) >= max(out, default=0)


@settings(deadline=None)
@given(data_sets, st.data())
def test_a_budget_of_tokens_is_kept_and_the_next_example_would_not_fit(data, draw):
    counted = dict(zip(ids(data), token_counts(data), strict=True))
    budget = draw.draw(st.integers(max(counted.values()), sum(counted.values())))
    kept = selected(data, tokens=budget)
    used = sum(counted[each.id] for each in kept)
    assert used <= budget
    if len(kept) < len(data):
        longer = selected(data, n=len(kept) + 1)
        assert sum(counted[each.id] for each in longer) > budget


def test_tokens_are_counted_over_all_that_is_trained_on():
    one = Example("a", "Say it.", "It.", input="it", system="Be brief.", history=(("Hi", "Hello"),))
    bare = Example("b", "Say it.", "It.")
    [whole], [part] = token_counts([one]), token_counts([bare])
    assert whole > part > 0


@pytest.mark.parametrize(("order", "best"), [("highest", "b"), ("lowest", "a")])
def test_by_a_field_of_the_file(order, best):
    rows = [Example(id, "Say it.", "It.", fields={"score": score})
            for id, score in (("a", "-1.5"), ("b", 10), ("c", 9))]  # fmt: skip
    assert ids(selected(rows, n=1, by="field", field="score", order=order)) == [best]
    for wrong in ({}, {"score": "good"}, {"score": float("nan")}, {"score": None}):
        with pytest.raises(UserError, match="example c"):
            selected([*rows[:2], replace(rows[2], fields=wrong)], n=1, by="field", field="score")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n": 5}, "only 4 examples"),
        ({"tokens": 10_000}, "4 examples have only"),
        ({"tokens": 1}, "first example has"),
        ({}, "found none"),
        ({"n": 1, "share": 0.5}, "found n and share"),
        ({"n": 1, "by": "field"}, "field="),
        ({"n": 1, "field": "score"}, "by=field"),
    ],
)
def test_what_cannot_be_had_is_refused_with_numbers(asked, said):
    with pytest.raises(UserError, match=said):
        selected(examples([3, 4, 5, 6]), **asked)


@settings(deadline=None)
@given(data_sets, data_sets, seeds)
def test_as_many_tokens_and_never_more(data, other, seed):
    room = sum(token_counts(other))
    try:
        kept = as_many_tokens(data, other, seed=seed)
    except UserError:
        counted = token_counts(data)
        assert sum(counted) < room or min(counted) > room
        return
    left = room - sum(token_counts(kept))
    assert left >= 0
    assert all(count > left for each, count in zip(data, token_counts(data), strict=True)
               if each not in kept)  # fmt: skip


@settings(deadline=None)
@given(data_sets, data_sets, seeds, st.sampled_from([0.0, 0.1, 0.5]))
def test_the_same_lengths_are_those_of_the_other_data_set(data, other, seed, tolerance):
    try:
        kept, bins = same_lengths(data, other, most_unmatched=tolerance, seed=seed)
    except UserError:
        return
    assert len(set(ids(kept))) == len(kept), "one was repeated"
    assert [each for each in data if each in kept] == kept
    starts = [each.at_least for each in bins]
    there = Counter(bisect_right(starts, len(each.output)) for each in kept)
    shares = Counter(bisect_right(starts, len(each.output)) for each in other)
    size = sum(each.wanted for each in bins)
    for number, each in enumerate(bins, start=1):
        assert there[number] == each.taken <= each.wanted
        assert abs(each.wanted - size * shares[number] / len(other)) < 1
    assert size - len(kept) <= tolerance * size + len(bins)
    assert len(kept) <= len(other)


def test_a_data_set_has_the_lengths_of_one_like_it_and_not_of_one_that_is_nowhere_as_long():
    data = examples(list(range(10, 110)) * 3)
    kept, bins = same_lengths(data, examples(range(10, 110)), most_unmatched=0, seed=0)
    assert [each.taken for each in bins] == [10] * 10
    assert len(kept) == 100
    with pytest.raises(UserError, match="200 to 299"):
        same_lengths(data, examples(range(200, 300)), most_unmatched=0.1, seed=0)


def test_what_is_too_small_to_match_is_refused():
    with pytest.raises(UserError, match="5 examples, this one only 4"):
        as_many_examples(examples([3] * 4), examples([3] * 5), seed=0)


def test_the_steps_write_what_they_were_forecast_to(tmp_path: Path):
    data, other = examples(range(10, 50)), examples(range(20, 40), "other")
    for name, rows in (("data", data), ("other", other)):
        (tmp_path / name).mkdir()
        write_examples(tmp_path / name, rows)
    folders = {"data": tmp_path / "data"}
    report = select(tmp_path, **folders, share=0.25, by="shortest")
    assert read_examples(tmp_path) == data[:10]
    assert report.figures == {"selected": 10, "of": 40}
    said = {name: Forecast(examples=rows) for name, rows in (("data", data), ("other", other))}
    for keywords in ({"share": 0.25, "by": "shortest"}, {"n": 7}, {"tokens": 200}):
        select(tmp_path, **folders, **keywords)
        told = forecast("mini_lima.data.select", keywords, {"data": said["data"]})
        assert list(told.examples) == read_examples(tmp_path)
    for by in ("examples", "tokens", "length_quantiles"):
        report = match(tmp_path, **folders, other=tmp_path / "other", by=by)
        told = forecast("mini_lima.data.match", {"by": by}, said)
        assert list(told.examples) == read_examples(tmp_path)
        assert len(told.examples) == report.figures["matched"] <= 20
