"""Outputs that are cut: at a word or a sentence, never inside a character, never longer."""

import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data import truncate
from mini_lima.data.examples import Earlier, Example
from mini_lima.data.shortening import cut

PIECES = [
    *"é \n。「」漢字🇫()",
    "word",
    "e\u0301",
    "  ",
    ". ",
    "! ",
    "か\u3099",
    "👩‍👩‍👧",
    "👍🏽",
    "🇩🇪",
]
PIECES += ["\u200d", "\ufe0f", "กำ", "\u0e33", "한국", "a\u0e33", "नि"]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
)


def truncated(text: str, **how) -> str:
    return truncate([Example("a", "Say it.", text)], **how).examples[0].output


ends = st.sampled_from(["word", "sentence"])


@settings(max_examples=50)
@given(texts, st.integers(0, 50), ends)
def test_a_cut_is_a_beginning_that_breaks_no_character(text, most, end):
    left = cut(text, most, end)
    assert text.startswith(left)
    if len(text) <= most:
        assert left == text
        return
    assert len(left) <= most
    assert left == left.rstrip()
    characters = {found.end() for found in regex.finditer(r"\X", text)}
    assert len(left) in characters | {0}


def test_outputs_go_back_to_the_length_they_had_and_what_is_left_empty_is_counted():
    def lengthened(id: str, was: str, now: str) -> Example:
        return Example(id, "Say it.", now, earlier=(Earlier(was, "seed"),))

    rows = [
        lengthened("a", "It rains.", "It pours, and the street is a river."),
        lengthened("b", "Yes", "Absolutely, and for the best of reasons."),
        lengthened("c", "As long as it was before", "Now short."),
        Example("d", "Say it.", "Never lengthened."),
    ]
    report = truncate(rows, to="earlier")
    kept = {each.id: each.output for each in report.examples}
    assert kept == {"a": "It pours,", "c": rows[2].output, "d": rows[3].output}
    assert [(each.asked_for, each.text) for each in report.rejects] == [("b", rows[1].output)]
    assert report.figures == {"truncated": 1, "unchanged": 2, "empty": 1, "never_changed": 1}
