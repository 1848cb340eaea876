"""Seed tasks are read whole, or every fault in them is told at once."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.teachers import jsonl, seed_rows

from mini_lima.data.seeds import Instance, Task, read_seeds
from mini_lima.errors import UserError

SHIPPED = Path(__file__).parents[2] / "src/mini_lima/assets/seed_tasks.jsonl"


def told(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_seeds(path)
    return str(caught.value).splitlines()


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    return tmp_path / "seeds.jsonl"


def test_the_shipped_seeds_are_read_in_file_order() -> None:
    tasks = read_seeds(SHIPPED)
    rows = [json.loads(line) for line in SHIPPED.read_text(encoding="utf-8").split("\n") if line]
    assert [task.id for task in tasks] == [row["id"] for row in rows]
    assert len({task.id for task in tasks}) == len(tasks) >= 24
    assert 0.1 < sum(row["is_classification"] for row in rows) / len(rows) < 0.25


words = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)
instances = st.builds(Instance, st.just("") | words, words)


@given(
    tasks=st.lists(
        st.builds(
            Task,
            id=words.filter(lambda text: not text.startswith("new_task_")),
            name=words,
            instruction=words,
            instances=st.lists(instances, min_size=1, max_size=3).map(tuple),
            is_classification=st.booleans(),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda task: task.id,
    ),
    escaped=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n", "\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_any_text_in_a_seed_is_kept(
    tmp_path_factory: pytest.TempPathFactory,
    tasks: list[Task],
    escaped: bool,
    newline: str,
    encoding: str,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    rows = [
        {
            "id": task.id,
            "name": task.name,
            "instruction": task.instruction,
            "instances": [{"input": each.input, "output": each.output} for each in task.instances],
            "is_classification": task.is_classification,
        }
        for task in tasks
    ]
    lines = newline.join(json.dumps(row, ensure_ascii=escaped) for row in rows)
    path.write_bytes(lines.encode(encoding))
    assert read_seeds(path) == tasks


def test_line_separators_inside_strings_are_text(seeds: Path) -> None:
    (row,) = seed_rows(1)
    row["instruction"] = "one\u2028two\u0085three\x0bfour"
    seeds.write_text(jsonl(row), encoding="utf-8")
    assert read_seeds(seeds)[0].instruction == row["instruction"]


def test_names_may_occur_twice(seeds: Path) -> None:
    rows = [row | {"name": "same"} for row in seed_rows(2)]
    seeds.write_text(jsonl(*rows), encoding="utf-8")
    assert [task.name for task in read_seeds(seeds)] == ["same", "same"]


def test_every_fault_of_every_line_is_told_with_its_place(seeds: Path) -> None:
    good, *bad = seed_rows(9)
    bad[0].pop("name")
    bad[0]["is_classification"] = "no"
    bad[1]["instances"] = []
    bad[2]["instances"] = [
        {"input": "", "output": "fine"},
        {"input": None, "output": " "},
        "text",
    ]
    bad[3]["id"] = good["id"]
    bad[4]["instruction"] = 7
    bad[5]["id"] = "new_task_0"
    bad[6]["instances"][0]["output"] = "\ud83d"
    lines = [json.dumps(row) for row in (good, *bad)]
    lines[8:] = ["{'id': 1}", "[]", "", "{", "[" * 100_000, '{"id": "x", "id"']
    seeds.write_text("\n".join(lines), encoding="utf-8")

    head, *faults = told(seeds)
    assert str(seeds) not in head
    expected = [
        (2, "'name'"),
        (2, "'is_classification'"),
        (3, "'instances'"),
        (4, "instance 2: 'input'"),
        (4, "instance 2: 'output'"),
        (4, "instance 3"),
        (5, "line 1"),
        (6, "'instruction'"),
        (7, "'id'"),
        (8, "'output'"),
        (9, "not JSON"),
        (10, "list"),
        (12, "not JSON"),
        (13, "not JSON"),
        (14, "not JSON"),
    ]
    assert len(faults) == len(expected)
    for fault, (number, part) in zip(faults, expected, strict=True):
        assert fault.startswith(f"{seeds}:{number}: ")
        assert part in fault


def test_an_id_that_occurs_twice_is_told_even_where_the_line_has_another_fault(seeds: Path) -> None:
    one, two = seed_rows(2)
    seeds.write_text(jsonl(one | {"name": ""}, two | {"id": one["id"]}), encoding="utf-8")
    assert [fault.split(":")[1] for fault in told(seeds)[1:]] == ["1", "2"]


def test_an_empty_file_is_a_fault(seeds: Path) -> None:
    for nothing in ("", "\n \n", "\ufeff"):
        seeds.write_text(nothing, encoding="utf-8")
        assert f"{seeds}: no seed task" in told(seeds)[-1]


def test_what_cannot_be_read_is_told_in_one_line(seeds: Path, tmp_path: Path) -> None:
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes("é".encode("latin-1"))
    for path in (seeds, tmp_path, latin):
        (line,) = told(path)
        assert str(path) in line
