"""Outputs that are cut: at a word or a sentence, never inside a character, never longer."""

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data import truncate
from mini_lima.data.examples import Earlier, Example
from mini_lima.data.shortening import cut
from mini_lima.errors import UserError

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


@settings(max_examples=50)
@given(st.lists(st.text("abcß", min_size=1, max_size=6), min_size=1, max_size=12), st.data())
def test_words_stay_whole_and_as_many_as_there_is_room_for(words, draw):
    text = " ".join(words)
    most = draw.draw(st.integers(0, len(text)))
    left = cut(text, most, "word")
    kept = left.split()
    assert kept == words[: len(kept)]
    assert kept == words or len(" ".join(words[: len(kept) + 1])) > most
    wanted = draw.draw(st.integers(1, len(words) + 2))
    assert truncated(text, words=wanted).split() == words[:wanted]


@pytest.mark.parametrize(
    ("text", "most", "left"),
    [
        ("It rains. It pours and pours.", 20, "It rains."),
        (
            "Dr. Who said 3.5 is e.g. enough. Then more came.",
            40,
            "Dr. Who said 3.5 is e.g. enough.",
        ),
        ("Is it? “Yes!” she said, and went on.", 30, "Is it?"),
        ("Sure:\n1. Buy bread.\n2. Buy milk and eggs.", 30, "Sure:\n1. Buy bread."),
        ("今天下雨。明天晴天，后天也是晴天。", 9, "今天下雨。"),
        ("他说：「好。」然后走了，没有回来。", 10, "他说：「好。」"),
        ("One long sentence without an end in sight", 20, ""),
    ],
)
def test_a_sentence_ends_where_a_reader_says_so(text, most, left):
    assert cut(text, most, "sentence") == left


def test_a_label_is_left_of_what_was_made_of_it():
    assert cut("“Positive”, and warmly so!", 9, "word") == "“Positive"
    assert cut("Positive, and warmly so!", 7, "word") == ""


def test_scripts_without_spaces_are_cut_between_characters():
    assert cut("把句子翻译成英文", 5, "word") == "把句子翻译"
    assert truncated("把句子翻译成英文", words=3) == "把句子"
    assert cut("ภาษาไทย", 4, "word") == "ภาษา"


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


def test_one_length_is_to_be_given():
    for sizes in ({}, {"words": 3, "to": "earlier"}):
        with pytest.raises(UserError, match="exactly one of words, characters and to"):
            truncate([], **sizes)
