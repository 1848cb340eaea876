"""Seed tasks are read whole, or the faults in them are told at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data.seeds import Instance, Task, read_seeds
from mini_lima.errors import UserError
from tests.data.teachers import jsonl, seed_rows

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
rows = st.fixed_dictionaries(
    {
        "id": words.filter(lambda text: not text.startswith("new_task_")),
        "name": words | st.just("one\u2028two\u0085three\x0bfour"),
        "instruction": words,
        "instances": st.lists(
            st.fixed_dictionaries({"input": st.just("") | words, "output": words}), min_size=1
        ),
        "is_classification": st.booleans(),
    }
)


def test_every_fault_is_told_with_its_line_and_field(seeds: Path) -> None:
    good, *bad = seed_rows(6)
    bad[0].pop("instruction")
    bad[0]["is_classification"] = "no"
    bad[1]["instances"] = []
    bad[2]["instances"] = [{"input": "", "output": "fine"}, {"input": 7, "output": " "}, "text"]
    bad[3]["instruction"] = 7
    bad[4]["instances"][0]["output"] = "\ud83d"
    seeds.write_text(
        "\n".join([*(json.dumps(row) for row in (good, *bad)), "", '{"id": 1, "id": 2}', "[]"])
    )
    head, *faults = told(seeds)
    assert "10 faults" in head
    expected = [
        (2, "instruction: field required"),
        (2, "is_classification: "),
        (3, "instances: "),
        (4, "instances[1].input: "),
        (4, "instances[1].output: must not be blank"),
        (4, "instances[2]: "),
        (5, "instruction: "),
        (6, "half of a character"),
        (8, "not JSON: the key 'id' is there twice"),
        (9, "an object was expected"),
    ]
    for fault, (number, part) in zip(faults, expected, strict=True):
        assert fault.startswith(f"{seeds}: line {number}: {part}")


SAID = [("Translate the text.", "Der Hafen.", "The harbour."), ("¿…?", "", "Yes.")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "list.jsonl", "a.csv", "no_suffix"])
@pytest.mark.parametrize("layout", ["alpaca", "self-instruct"])
def test_instruction_and_answer_suffice_in_any_format(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, layout: str
) -> None:
    caplog.set_level("INFO")
    rows: list[dict[str, Any]] = [
        {"instruction": i, "input": g, "output": o, "lang": ""} for i, g, o in SAID
    ]
    if layout == "self-instruct" and not name.endswith("csv"):
        rows = [
            {
                "instruction": i,
                "input": "of nobody",
                "instances": [{"input": g or None, "output": o, "lang": "de"}],
            }
            for i, g, o in SAID
        ]
    path = tmp_path / name
    if name.endswith("csv"):
        columns = [["instruction", "input", "output"], *SAID]
        path.write_text("\n".join(f'"{a}","{b}","{c}"' for a, b, c in columns))
    else:
        is_list = "list" in name or name.endswith(".json")
        path.write_text(json.dumps(rows) if is_list else jsonl(*rows))
    tasks = read_seeds(path)
    read_seeds(path)
    assert [(t.id, t.name, t.is_classification) for t in tasks] == [
        ("seed_task_0", "translate_the_text", None),
        ("seed_task_1", "seed_task_1", None),
    ]
    assert [(t.instruction, i.input, i.output) for t in tasks for i in t.instances] == SAID
    assert len(caplog.messages) == 2 * ("instances" in rows[0])


def test_made_ids_are_nobody_s_and_numbers_are_ids(seeds: Path) -> None:
    rows = [{"instruction": str(n), "output": "x"} for n in range(3)]
    rows[2] |= {"id": "seed_task_0"}
    rows[1] |= {"id": 7}
    seeds.write_text(jsonl(*rows))
    assert [task.id for task in read_seeds(seeds)] == ["seed_task_0_1", "7", "seed_task_0"]


def test_what_cannot_be_read_or_is_empty_is_told_in_one_line(seeds: Path, tmp_path: Path) -> None:
    latin, empty = tmp_path / "latin.jsonl", tmp_path / "empty.jsonl"
    latin.write_bytes("é".encode("latin-1"))
    empty.write_text("\ufeff\n \n")
    for path in (seeds, tmp_path, latin, empty):
        (line,) = told(path)
        assert str(path) in line


@settings(max_examples=30)
@given(
    rows=st.lists(rows, min_size=1, max_size=4, unique_by=lambda row: row["id"]),
    newline=st.sampled_from(["\n", "\r\n", "\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_any_text_in_a_seed_is_kept(tmp_path_factory, rows, newline, encoding) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    lines = newline.join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(lines.encode(encoding))
    assert read_seeds(path) == [
        Task(**{**row, "instances": tuple(Instance(**each) for each in row["instances"])})
        for row in rows
    ]
