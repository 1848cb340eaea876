"""What a data set says about itself: figures that can be recounted, and a page for people."""

import pytest
from hypothesis import strategies as st

from tests.data.conftest import DataSet, Study
from tests.data.teachers import Asked, Teacher, jsonl, seed_rows


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


texts = st.lists(st.text("ab cé", max_size=12), min_size=1, max_size=8)
