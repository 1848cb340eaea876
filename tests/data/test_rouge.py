"""ROUGE-L: the longest common subsequence of words, by the textbook and by the library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.data.rouge import rouge_l, words

VOCABULARY = ["the", "a", "cat", "dog", "sat", "on", "Mat", "of", "12", "é"]
texts = st.lists(st.sampled_from(VOCABULARY), max_size=14).map(" ".join)


def common_subsequence(one: list[str], other: list[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        last = 0
        for at, against in enumerate(other, 1):
            last, row[at] = row[at], last + 1 if word == against else max(row[at], row[at - 1])
    return row[-1]


@given(texts, texts)
def test_it_is_the_f1_of_the_longest_common_subsequence(one: str, other: str) -> None:
    first, second = words(one), words(other)
    if not first or not second:
        assert rouge_l(one, other) == 0
        return
    common = common_subsequence(first, second)
    precision, recall = common / len(first), common / len(second)
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    assert rouge_l(one, other) == pytest.approx(f1)
