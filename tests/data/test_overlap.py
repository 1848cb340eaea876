"""Which instructions of the evaluation set are in a data set: as by hand, and what follows."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data import contamination, decontaminate
from mini_lima.data.examples import Example, write_examples
from mini_lima.data.overlap import overlap
from mini_lima.data.rouge import rouge_l, words
from mini_lima.errors import UserError
from mini_lima.results.contamination import read_contamination, write_contamination

VOCABULARY = ["the", "a", "cat", "Dog", "sat", "on", "mat", "12"]
texts = st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join)
LONG = "Explain in plain words why the sky over the sea is blue at noon and red at night"
SHORT = "Name the eight planets in order of their size"


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4), st.lists(texts))
def test_rouge_l_is_that_of_each_pair_of_texts(rows, instructions):
    data = [Example(str(n), one, two, input=given_) for n, (one, given_, two) in enumerate(rows)]
    found = overlap(data, instructions, ngram=None)
    alike = {
        (each.id, instruction)
        for each in data
        for instruction in instructions
        for text in (each.instruction, f"{each.instruction}\n{each.input}", each.output)
        if round(rouge_l(text, instruction), 9) > 0.7
    }
    assert {(hit.example, hit.instruction) for hit in found.hits} == alike
    assert len(found.hits) == len(alike)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts), st.integers(1, 5))
def test_words_in_a_row_are_those_that_both_have(outputs, instructions, size):
    data = [Example(str(n), "Xyz.", output) for n, output in enumerate(outputs)]

    def shares(text: str, instruction: str) -> bool:
        one, two = f" {' '.join(words(text))} ", words(instruction)
        grams = [two[at : at + size] for at in range(len(two) - size + 1)]
        return any(f" {' '.join(gram)} " in one for gram in grams)

    found = overlap(data, instructions, rouge_l=None, ngram=size)
    assert {(hit.example, hit.instruction) for hit in found.hits} == {
        (each.id, instruction)
        for each in data
        for instruction in instructions
        if shares(each.output, instruction)
    }


def reasons(example: Example) -> list[tuple[str, str]]:
    return [(hit.part, hit.reason) for hit in overlap([example], [LONG, SHORT, "Hi there"]).hits]


@pytest.mark.parametrize(
    ("example", "part", "reason"),
    [
        (Example("a", LONG.upper(), "It is."), "instruction", "rouge_l 1.00"),
        (Example("a", f"{LONG[:60]}, and so on", "It is."), "instruction", "rouge_l"),
        (
            Example("a", "Explain in plain words:", "It.", input=LONG[23:]),
            "instruction and",
            "rouge",
        ),
        (Example("a", "Make a prompt.", LONG), "output", "rouge_l 1.00"),
        (Example("a", "Go on.", "Well.", history=((LONG, "Hm."),)), "turn 1", "rouge_l 1.00"),
        (Example("a", "Answer all. " + "Why? " * 40 + LONG, "It is."), "text", "13-gram"),
        (Example("a", "Answer all. " + "Why? " * 40 + SHORT, "It is."), "text", "9-gram"),
    ],
)
def test_it_is_found_wherever_it_stands(example, part, reason):
    [(where, why)] = reasons(example)
    assert where.startswith(part)
    assert why.startswith(reason)


def test_hits_are_removed_and_named_or_only_reported(tmp_path: Path):
    rows = [Example("a", LONG, "Light."), Example("b", "Sing.", "La."), Example("c", SHORT, "Mars")]
    write_examples(tmp_path, rows)
    asked = tmp_path / "evaluation_set.json"
    asked.write_text(json.dumps([{"instruction": LONG, "output": "x"}, {"instruction": "No."}]))
    contamination(tmp_path, data=tmp_path, evaluation_set=asked)
    found = read_contamination(tmp_path)
    assert (found.checked, found.instructions) == (3, 2)
    assert (found.instructions_hit, {hit.example for hit in found.hits}) == ({LONG}, {"a"})
    write_contamination(tmp_path, found)
    assert read_contamination(tmp_path) == found

    report = decontaminate(rows, evaluation_set=asked)
    assert [each.id for each in report.examples] == ["b", "c"]
    [reject] = report.rejects
    assert reject.asked_for == "a"
    assert LONG in reject.detail
    assert report.figures == {"checked": 3, "removed": 1, "instructions_found": 1}
    with pytest.raises(UserError, match="nothing is left to look at"):
        decontaminate(rows, evaluation_set=asked, rouge_l=None, ngram=None)
