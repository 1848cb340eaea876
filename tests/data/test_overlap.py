"""Which instructions of the evaluation set are in a data set: as by hand, and what follows."""

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from mini_lima.data import contamination, decontaminate
from mini_lima.data.examples import Example, write_examples
from mini_lima.data.overlap import overlap
from mini_lima.errors import UserError
from mini_lima.results.contamination import read_contamination, write_contamination

VOCABULARY = ["the", "a", "cat", "Dog", "sat", "on", "mat", "12"]
texts = st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join)
LONG = "Explain in plain words why the sky over the sea is blue at noon and red at night"
SHORT = "Name the eight planets in order of their size"


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
