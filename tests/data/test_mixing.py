"""Two data sets in one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.data import mix
from mini_lima.data.examples import Example
from mini_lima.data.mixing import PREFIX
from mini_lima.errors import UserError


def examples(ids: list[int], output: str) -> list[Example]:
    return [Example(f"task{id}", "Say it.", output) for id in ids]


id_lists = st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=20)


@given(id_lists, id_lists, st.floats(0.05, 0.95), st.integers(1, 20), st.integers(0, 2))
def test_shares_are_kept_ids_are_unique_and_nothing_is_taken_twice(one, two, share, n, seed):
    data, other = examples(one, "naive"), examples(two, "improved")
    try:
        found = mix(data, other=other, share=share, n=n, seed=seed).examples
    except UserError:
        assert n * share + 0.5 > len(other) or n * (1 - share) + 0.5 > len(data)
        return
    of_other = [each for each in found if each.output == "improved"]
    assert len(found) == n
    assert abs(len(of_other) - n * share) <= 0.5 + 1e-9
    assert len({each.id for each in found}) == n
    back = [replace(each, id=each.id.removeprefix(PREFIX)) for each in found]
    assert [each for each in back if each.output == "naive"] == [e for e in data if e in back]
    assert [each for each in back if each.output == "improved"] == [e for e in other if e in back]


def test_without_a_share_all_of_both_is_used():
    data, other = examples([1, 2], "naive"), examples([2, 3, 4], "improved")
    assert {each.id for each in mix(data, other=other).examples} == {
        *("task1", "task2", "task3", "task4"),
        f"{PREFIX}task2",
    }
    with pytest.raises(UserError, match="4 examples of data are needed"):
        mix(data, other=other, share=0.4, n=6)
