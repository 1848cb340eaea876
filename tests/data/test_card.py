"""What a data set says about itself: figures that can be recounted, and a page for people."""

from collections import Counter

import pytest
from hypothesis import strategies as st

from tests.data.conftest import DataSet, Study
from tests.data.teachers import Asked, Teacher, good_instances, jsonl, seed_rows


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
    nasty = "```\n# A headline | <script>alert(1)</script>\n````"

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


texts = st.lists(st.text("ab cé", max_size=12), min_size=1, max_size=8)


def test_a_funnel_counts_what_came_and_what_was_left(study: Study) -> None:
    study.set_seeds(seed_rows(2))
    made = study.naive_by(Teacher(new=lambda asked: good_instances(asked).split("\n", 1)[0]))
    funnel = made.stats["funnel"]
    assert funnel["prompt 1"] == {
        "requests": 1,
        "asked_for": 2,
        "found": 2,
        "rejected": {},
        "used": 2,
        "notes": {},
    }
    assert funnel["prompt 3"]["requests"] == 2
    assert funnel["prompt 3"]["used"] == made.stats["by_source"]["prompt 3"]
