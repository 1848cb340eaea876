"""What a program can check of an answer: one that does what is demanded, and one that does not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.errors import UserError
from mini_lima.evaluation.instruction_checks import KINDS, read_checks

ENGLISH = "the answer to this question is in the second part of the book that you have"
CASES = [
    ("keywords:existence", {"keywords": ["Tea", "cup"]}, "A cup of tea.", "A pot of tea."),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "at least"},
        "War and warmth.",
        "War and peace.",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Rocky.", "It is Rock!"),
    (
        "keywords:letter_frequency",
        {"letter": "!", "let_frequency": 2, "let_relation": "less than"},
        "So!",
        "So!!",
    ),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist nicht so einfach, wie es auf den ersten Blick scheint.",
        ENGLISH,
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "less than"},
        'Dr. Who said: "At 5 p.m., e.g. now."\n1. Is it over',
        "One. Two! Three?",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***", "a\n\nb"),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        "One, two – three.",
        "One, two.",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
        'It is.\n\n"So," he said.',
        "It is.\n\nSobering.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b c]", "[a] b]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. Hi", "PS: hi"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b\n**c**", "* a\n1. b"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*one* and **two**",
        "*one* and ** **",
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na\nSection b",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', 'Here: {"a": [1]}'),
    ("detectable_format:title", {}, "<<A title>>\nText", "<< >>\nText"),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. It.", "It. Say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'And then, the end."', "The end. Not."),
    ("startend:quotation", {}, '"All\nof it"', '"Half" of it'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        "The U.S. is large.",
        "THE U.S. is large.",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH.title()),
    ("change_case:english_lowercase", {}, ENGLISH, ENGLISH.capitalize()),
    ("punctuation:no_comma", {}, "No comma; none.", "A comma, one."),
    ("mini_lima:one_of", {"choices": ["yes", "no"]}, "**No.**", "No, it is not."),
    ("mini_lima:line_count", {"num_lines": 3, "relation": "less than"}, "a\n\nb", "a\nb\nc"),
]
texts = st.text(st.sampled_from('ab A1.!?,*\n"[]<>-{}#') | st.characters(), max_size=60)


def check(kind, keywords):
    [found] = read_checks({"instruction_id_list": [kind], "kwargs": [keywords]})
    return found


def test_every_kind_has_a_case():
    assert sorted(kind for kind, *_ in CASES) == sorted(KINDS)


def test_an_answer_does_what_is_demanded_or_does_not():
    for kind, keywords, good, bad in CASES:
        found = check(kind, keywords)
        assert [found.holds(text) for text in (good, bad, " \n")] == [True, False, False], kind


@settings(max_examples=40)
@given(st.sampled_from(CASES), texts)
def test_whatever_is_answered_strict_implies_loose_and_the_same_is_said_twice(case, text):
    found = check(*case[:2])
    strict = found.holds(text)
    assert found.holds(text) == strict
    assert found.holds(text, loose=True) or not strict


def test_loose_forgives_a_greeting_a_closing_remark_and_asterisks():
    found = check("startend:quotation", {})
    for text in ('Sure:\n"Yes."', '"Yes."\nBye!', 'Sure:\n"Yes."\nBye!', '**"Yes."**'):
        assert not found.holds(text)
        assert found.holds(text, loose=True)
    assert not found.holds('Sure: "Yes."', loose=True)


@pytest.mark.parametrize(
    ("kinds", "keywords", "complaint"),
    [
        (["keyword:existence"], [{}], r"instruction_id_list\[0\].*did you mean keywords:existence"),
        (["punctuation:no_comma"], None, "kwargs must be a list"),
        (["punctuation:no_comma"] * 2, [{}], "each of the 2 ids"),
        (["punctuation:no_comma"], ["x"], r"kwargs\[0\] must be an object"),
        (["punctuation:no_comma"], [{"n": 1}], r"kwargs\[0\]\.n: .* no such keyword"),
        ("punctuation:no_comma", [{}], "must be a list of ids"),
        (["length_constraints:number_paragraphs"], [{}], r"kwargs\[0\]\.num_paragraphs has no"),
        (
            ["length_constraints:number_paragraphs"],
            [{"num_paragraphs": 0}],
            r"kwargs\[0\]\.num_paragraphs=0: .*greater than or equal to 1",
        ),
        (
            ["keywords:frequency"],
            [{"keyword": "a", "frequency": 1, "relation": "at most"}],
            r"kwargs\[0\]\.relation=at most.*'less than' or 'at least'",
        ),
        (["language:response_language"], [{"language": "deutsch"}], r"\.language='deutsch'"),
    ],
)
def test_what_a_row_demands_wrongly_is_said_with_its_field(kinds, keywords, complaint):
    with pytest.raises(UserError, match=complaint):
        read_checks({"instruction_id_list": kinds, "kwargs": keywords})


def test_keywords_that_are_null_are_absent_as_in_tables_with_a_column_for_each():
    given = {"num_words": 2, "relation": "at least", "keywords": None, "language": None}
    row = {"instruction_id_list": ["length_constraints:number_words"], "kwargs": [given]}
    (check,) = read_checks(row)
    assert [check.holds(text) for text in ("Two words", "One")] == [True, False]
    assert read_checks({}) == read_checks({"instruction_id_list": None, "kwargs": None}) == []
