"""A data set of the user's own as an arm: what is read in each format and layout, and refused."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.data import from_file, run_step
from mini_lima.data.examples import read_examples, write_examples
from mini_lima.data.steps import forecast
from mini_lima.errors import UserError
from mini_lima.files import read_json, read_jsonl, tables, write_jsonl
from mini_lima.files.tables import read_rows

ALPACA = [
    {"instruction": instruction, "input": given, "output": output, "topic": topic}
    for instruction, given, output, topic in (
        ("Name a river.", "", "The Nile.", "rivers"),
        ("Name a river.", "in France", "The Loire.", "rivers"),
        ("Add \u2028 up.", "1, 2", 'It is "3",\nsurely.', ""),
    )
]


def write(file: Path, rows) -> Path:
    if file.suffix == ".json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    elif file.suffix == ".jsonl":
        write_jsonl(file, rows)
    elif file.suffix in (".csv", ".tsv"):
        with file.open("w", encoding="utf-8", newline="") as opened:
            delimiter = "\t" if file.suffix == ".tsv" else ","
            writer = csv.DictWriter(opened, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    else:
        from pyarrow import Table
        from pyarrow.parquet import write_table

        write_table(Table.from_pylist(rows), file)
    return file


def examples_of(tmp_path: Path, rows, name="rows.jsonl", **options):
    return from_file(file=write(tmp_path / name, rows), **options).examples


def complaint(tmp_path: Path, rows, name="rows.jsonl", **options) -> str:
    with pytest.raises(UserError) as found:
        from_file(file=write(tmp_path / name, rows), **options)
    return str(found.value)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "tsv", "parquet"])
def test_every_format_says_the_same(tmp_path, suffix):
    found = examples_of(tmp_path, ALPACA, f"rows.{suffix}")
    assert [(e.instruction, e.input, e.output) for e in found] == [
        (row["instruction"], row["input"], row["output"]) for row in ALPACA
    ]
    assert [each.fields for each in found] == [{"topic": row["topic"]} for row in ALPACA]
    assert found[0].task == found[1].task != found[2].task


def messages(*texts: str, system: str = ""):
    said = [("system", system)] if system else []
    said += [(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]
    return [{"role": role, "content": text} for role, text in said]


def sharegpt(*texts: str, system: str = ""):
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return [
        {"from": names[each["role"]], "value": each["content"]}
        for each in messages(*texts, system=system)
    ]


def in_layouts(turns, system):
    """The same conversation in every layout that can hold it."""
    flat = [text for turn in turns for text in turn]
    *history, (instruction, output) = turns
    yield {"messages": messages(*flat, system=system)}
    yield {"conversations": messages(*flat), "system": system}
    yield {"conversations": sharegpt(*flat, system=system)}
    yield {"prompt": messages(*flat[:-1], system=system), "completion": messages("", output)[1:]}
    alpaca = {"instruction": instruction, "output": output, "system": system}
    yield {**alpaca, "history": [list(each) for each in history]}
    if not history:
        yield {"prompt": instruction, "response": output, "system": system, "input": None}


said = st.text(
    st.characters(exclude_categories=["Cs"], include_characters="\u2028\ufeff\n<|>"), max_size=20
).filter(str.strip)


@settings(max_examples=20)
@given(turns=st.lists(st.tuples(said, said), min_size=1, max_size=3), system=st.just("") | said)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_every_layout_says_the_same(tmp_path_factory, suffix, turns, system):
    folder = tmp_path_factory.getbasetemp()
    for row in in_layouts(turns, system):
        [found] = examples_of(folder, [row], f"rows.{suffix}")
        assert (*found.history, (found.instruction, found.output)) == tuple(turns)
        assert found.system == system
        assert set(found.fields) <= {"input"}


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text"]), inner
        )
    ),
    max_leaves=6,
)
rows_of_anything = st.dictionaries(
    st.sampled_from(["id", "instruction", "input", "output", "history", "system", "messages"])
    | st.sampled_from(["conversations", "prompt", "completion", "tools", "more"]),
    anything | said,
)


GOOD = {
    "alpaca": {"instruction": "a", "output": "b"},
    "prompt_completion": {"prompt": "a", "completion": "b"},
    "messages": {"messages": messages("a", "b")},
    "sharegpt": {"conversations": sharegpt("a", "b")},
}


@settings(max_examples=80)
@given(st.sampled_from([*GOOD]), st.lists(rows_of_anything | anything, max_size=4))
def test_whatever_a_row_holds_is_an_example_or_a_reject(tmp_path_factory, layout, rows):
    folder = tmp_path_factory.getbasetemp()
    file = folder / "rows.json"
    file.write_text(json.dumps([GOOD[layout], *rows]))
    report = from_file(file=file, layout=layout, unreadable="drop")
    found = report.examples
    assert len(found) + len(report.rejects) == len(rows) + 1
    assert len({each.id for each in found}) == len(found)
    assert all(each.instruction.strip() and each.output.strip() for each in found)
    write_examples(folder, found)
    write_jsonl(folder / "rejects.jsonl", [vars(each) for each in report.rejects])
    if report.rejects:
        with pytest.raises(UserError, match=f"{len(report.rejects)} of {len(rows) + 1} rows"):
            from_file(file=file, layout=layout)


def test_every_column_is_a_part_of_the_conversation_or_named_with_how_many_rows_have_it(
    tmp_path, caplog
):
    caplog.set_level("INFO")
    rows = [
        {"prompt": "Q", "response": "A", "input": "I", "history": [["q", "a"]], "score": n or None}
        for n in range(3)
    ]
    (*_, last) = examples_of(tmp_path, rows)
    assert (last.input, last.history, last.fields) == ("I", (("q", "a"),), {"score": 2})
    (line,) = caplog.messages
    assert line.endswith(": score (2)")


Q, A = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


def test_a_conversation_that_cannot_be_trained_on_as_it_is_names_line_and_field(tmp_path):
    cases = {
        "messages[0]: the user's turn": [A],
        "messages[2]: the assistant does not answer": [Q, A, Q],
        "messages[1]: the user has just spoken": [Q, Q, A],
        "messages[2]: the assistant has just spoken": [Q, A, A],
        "messages[1]: a system message only": [Q, {"role": "system", "content": "S"}, A],
        "messages[1].role: ": [Q, {"role": "tool", "content": "1"}, A],
        "messages[1].tool_calls: ": [Q, {**A, "tool_calls": [{"name": "f"}]}],
        "messages[1].content: input should be a valid string": [Q, {**A, "content": None}],
        "messages[1]: must not be blank": [Q, {**A, "content": " "}],
        "half of a character": [Q, {**A, "content": "\ud83d"}],
        "messages[1].weight: ": [Q, {**A, "weight": 0}],
        "messages[0].content: ": [{**Q, "content": [{"type": "image"}]}, A],
        "messages[1]: ": [Q, "A"],
        "messages: there is no turn in it": [],
    }
    file = tmp_path / "rows.jsonl"
    for told, turns in cases.items():
        rows = [{"messages": [Q, A]}, {"messages": turns}]
        file.write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(UserError) as found:
            from_file(file=file)
        assert f"{file}: line 2: {told}" in str(found.value)


def test_all_faults_are_counted_and_the_first_are_told(tmp_path):
    bad = [{"instruction": "a", "output": ""}, {"instruction": None, "output": "b"}] * 8
    told = complaint(tmp_path, [*ALPACA, *bad])
    assert "16 of 19 rows" in told
    assert told.splitlines()[1] == f"{tmp_path / 'rows.jsonl'}: line 4: output: must not be blank"
    assert len(told.splitlines()) == 12
    assert told.endswith("and 6 more")
    file = tmp_path / "rows.jsonl"
    report = from_file(file=file, unreadable="drop")
    assert len(report.examples) == 3
    assert [each.reason for each in report.rejects].count("output: must not be blank") == 8
    assert report.rejects[0].detail == "line 4: output: must not be blank"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_what_is_larger_than_any_data_set_is_refused_before_it_is_read(tmp_path, name):
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 2**33)
    with pytest.raises(UserError, match="larger than 2 GB"):
        next(read_rows(tmp_path / name))


def test_a_small_file_cannot_unpack_to_more_than_any_data_set(tmp_path, monkeypatch):
    from pyarrow import DictionaryArray, Table
    from pyarrow.parquet import write_table

    file = tmp_path / "a.parquet"
    repeated = DictionaryArray.from_arrays([0] * 10_000, ["x" * 10_000])
    write_table(Table.from_pydict({"output": repeated}), file, compression="zstd")
    assert file.stat().st_size < 10_000
    monkeypatch.setattr(tables, "MOST_BYTES", 20_000_000)
    with pytest.raises(UserError, match="unpacks to more than"):
        sum(1 for _ in read_rows(file))


def test_it_is_a_step_and_its_forecast_is_what_it_makes(tmp_path):
    file = write(tmp_path / "rows.jsonl", [*ALPACA, {"instruction": "a", "output": None}])
    made = tmp_path / "made"
    made.mkdir()
    keywords = {"unreadable": "drop"}
    run_step(made, step="mini_lima.data.from_file", name="mine", keywords=keywords, file=file)
    found = read_examples(made)
    assert [each.source for each in found] == ["mine"] * 3
    assert read_json(made / "stats.json")["examples"] == 3
    assert [each["asked_for"] for each in read_jsonl(made / "rejects.jsonl")] == [None]
    foreseen = forecast("mini_lima.data.from_file", keywords, {}, file=file).examples
    assert [each.output for each in foreseen] == [each.output for each in found]
