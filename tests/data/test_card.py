"""What a data set says about itself: figures that can be recounted, and a page for people."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.data.card import histogram
from mini_lima.data.measures import diversity, lengths, tokens
from mini_lima.data.rouge import words
from tests.data.conftest import DataSet, Study
from tests.data.teachers import Asked, Teacher, good_instances, jsonl, seed_rows

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def before(study: Study) -> DataSet:
    rows = seed_rows(3)
    rows[1] |= {
        "is_classification": True,
        "instances": [{"input": str(n), "output": "odd" if n % 2 else "even"} for n in range(3)],
    }
    study.set_seeds(rows)
    return study.naive_by(Teacher())


@pytest.fixture
def after(study: Study, before: DataSet) -> DataSet:
    with study.taught_by(Teacher()) as endpoint:
        return study.improved(before, endpoint)


def test_any_reader_of_json_lines_reads_the_examples_as_they_are(
    before: DataSet, after: DataSet, tmp_path: object
) -> None:
    import datasets

    datasets.disable_progress_bars()
    for made in (before, after):
        path = str(made.folder / "examples.jsonl")
        loaded = datasets.load_dataset(
            "json", data_files=path, split="train", cache_dir=str(tmp_path)
        )
        assert loaded.num_rows == len(made.examples)
        assert loaded["output"][:] == made.outputs
        assert loaded["request"][:] == [each.request for each in made.examples]


def test_stats_can_be_recounted(before: DataSet, after: DataSet) -> None:
    stats = after.stats
    assert stats["before"]["output_lengths"] == before.stats["output_lengths"]
    characters = [len(output) for output in after.outputs]
    found = stats["output_lengths"]["characters"]
    assert found["mean"] == pytest.approx(sum(characters) / len(characters))
    assert (found["min"], found["max"]) == (min(characters), max(characters))
    assert stats["tasks"]["tasks"] == 6
    per_task = Counter(Counter(each.task for each in after.examples).values())
    assert stats["tasks"]["examples_per_task"] == {str(n): k for n, k in sorted(per_task.items())}
    assert sum(n * k for n, k in per_task.items()) == len(after.examples)
    assert stats["classification"]["examples"] == {"no": 6, "yes": 5, "not known": 15}


def test_labels_are_counted_before_prompt_4_lengthens_them(before: DataSet, after: DataSet) -> None:
    for made in (before, after):
        labels = made.stats["classification"]["labels"]["seed_task_1"]
        assert labels["even"] == 2
        assert labels["odd"] == 1


def test_the_card_shows_the_funnel_the_lengths_and_ten_examples(
    before: DataSet, after: DataSet
) -> None:
    card = (after.folder / "card.md").read_text(encoding="utf-8")
    for prompt in after.stats["funnel"]:
        assert f"| {prompt} |" in card
    assert "characters, before" in card
    assert "characters, lengthen" in card
    assert "(lengths.svg)" in card
    shown = [each for each in after.examples if f"### {each.id}\n" in card]
    assert len(shown) == 10
    for each in shown:
        assert each.output in card
        assert each.earlier[0].output in card


def test_text_of_the_data_cannot_break_out_of_the_card(study: Study) -> None:
    nasty = "```\n# A headline | <script>alert(1)</script>\x1b[2J\x08\u202e\n````"

    def new(asked: Asked) -> str:
        task = asked.task | {"instances": []}
        return jsonl(task) + jsonl(*({"input": f"{n}", "output": f"{nasty}{n}"} for n in range(5)))

    made = study.naive_by(Teacher(new=new))
    card = (made.folder / "card.md").read_text(encoding="utf-8")
    fence = ""
    for line in card.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            fence = "" if line == fence else fence
        elif len(ticks) >= 3:
            fence = ticks
        else:
            assert "headline" not in line
    assert not fence
    assert "headline" in card
    assert "\\x1b[2J\\x08\\u202e" in card
    assert not {*card} & {*"\x1b\x08\u202e"}


def test_the_same_data_has_the_same_card(study: Study) -> None:
    with study.taught_by(Teacher()) as endpoint:
        one, two = study.naive(endpoint), study.naive(endpoint)
    assert one.files == two.files
    assert set(one.files) == {
        "card.md",
        "examples.jsonl",
        "lengths.svg",
        "rejects.jsonl",
        "requests.json",
        "stats.json",
    }


def test_a_data_set_of_one_example_has_a_card(study: Study) -> None:
    study.set_seeds(seed_rows(1))
    made = study.naive_by(Teacher(*[lambda asked: ""] * 3))
    assert made.stats["examples"] == 1
    assert made.stats["diversity"]["outputs"]["self_similarity"] == 0
    assert "1 examples" in (made.folder / "card.md").read_text(encoding="utf-8")


def test_the_picture_is_well_formed_and_the_same_again() -> None:
    series = {"<b> $x_1$ & é": [0, 7, 8, 10**7], "_step": [100] * 3, "empty": []}
    picture = histogram(series, title="<lengths>", unit="<unit> & more")
    assert picture == histogram(series, title="<lengths>", unit="<unit> & more")
    said = [each.text for each in ElementTree.fromstring(picture).iter(f"{SVG}text")]
    assert {"<lengths>", "<unit> & more", "4 outputs, <b> $x_1$ & é", "3 outputs, _step"} <= {*said}
    assert (said[0], said[15]) == ("0–", "131072–")
    ElementTree.fromstring(histogram({}, title="t", unit="u"))


texts = st.lists(st.text("ab cé", max_size=12), min_size=1, max_size=8)


@given(texts)
def test_distinct_n_is_the_share_of_different_n_grams(said: list[str]) -> None:
    found = diversity(said)
    grams = [pair for text in said for pair in pairwise(words(text))]
    assert found["distinct_2"] == (len(set(grams)) / len(grams) if grams else 0)
    assert 0 <= found["distinct_1"] <= 1
    assert 0 <= found["self_similarity"] <= 1


def test_repetition_lowers_diversity_and_raises_self_similarity() -> None:
    different = ["red apples grow", "the sea is cold", "nobody knows why"]
    same = ["red apples grow"] * 3
    assert diversity(same)["self_similarity"] == 1
    assert diversity(different)["self_similarity"] == 0
    assert diversity(same)["distinct_1"] < diversity(different)["distinct_1"] == 1


@given(texts)
def test_lengths_are_ordered(said: list[str]) -> None:
    for spread in lengths(said).values():
        order = [spread[key] for key in ("min", "quartile_1", "median", "quartile_3", "max")]
        assert order == sorted(order)
        assert spread["min"] <= spread["mean"] <= spread["max"]


def test_tokens_are_those_of_the_embedded_tokenizer() -> None:
    assert list(tokens(["", "a"])) == [0, 1]
    assert max(tokens(["The quick brown fox."])) < len("The quick brown fox.")


def test_a_funnel_counts_what_came_and_what_was_left(study: Study) -> None:
    study.set_seeds(seed_rows(2))
    made = study.naive_by(Teacher(new=lambda asked: good_instances(asked).split("\n", 1)[0]))
    funnel = made.stats["funnel"]
    assert funnel["prompt 1"] == {
        "requests": 1,
        "found": 2,
        "rejected": {},
        "used": 2,
        "notes": {},
    }
    assert funnel["prompt 3"]["requests"] == 2
    assert funnel["prompt 3"]["used"] == made.stats["by_source"]["prompt 3"]
