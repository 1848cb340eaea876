"""Teacher replies: whatever stands around the data, all of it that is whole is found unchanged."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mini_lima.data.parsing import NO_INPUT, instances, pairs
from mini_lima.data.seeds import Instance

some = settings(max_examples=40)
anything = st.characters(exclude_categories=["Cs"])
tricky = st.sampled_from([*"{}[]\"'\\,:\n ", "```", '{"a": 1}', "\u2028", "é", '", "'])
texts = st.lists(anything | tricky, max_size=12).map("".join)
outputs = texts.filter(str.strip)
labels = outputs.map(str.strip)
inputs = st.just("") | outputs.filter(lambda text: text.strip(" \n<>()[].").lower() not in NO_INPUT)
remarks = st.sampled_from(
    [
        "",
        "Here are some tasks:\n",
        "Sure! Here's the JSON (as {name, instruction} pairs):\n\n",
        "Don't forget: use { to open.\n",
    ]
) | st.text(anything.filter(lambda character: character not in "{}")).map("{}\n".format)

pair_rows = st.fixed_dictionaries({"name": labels, "instruction": labels})
instance_rows = st.fixed_dictionaries({"input": inputs, "output": outputs})


def dumps(document: Any, draw: Any) -> str:
    return json.dumps(
        document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2]))
    )


@st.composite
def replies(draw: Any, rows: st.SearchStrategy[dict[str, Any]]) -> tuple[list[Any], str]:
    """Some rows, and a reply that holds them in one of the ways that teachers have."""
    made = draw(st.lists(rows, min_size=1, max_size=4))
    way = draw(st.sampled_from(["line", "number", "bullet", "comma", "array", "wrapper"]))
    if way == "array":
        body = dumps(made, draw)
    elif way == "wrapper":
        body = dumps({"count": len(made), "data": {"tasks": made}}, draw)
    else:
        written = [dumps(row, draw) for row in made]
        match way:
            case "line":
                body = draw(st.sampled_from(["\n", " ", "\n\n", ""])).join(written)
            case "number":
                body = "\n".join(f"{number}. {row}" for number, row in enumerate(written, 1))
            case "bullet":
                body = "\n".join(f"- {row};" for row in written)
            case _:
                body = ",\n".join(written) + ","
    if draw(st.booleans()):
        body = f"```{draw(st.sampled_from(['', 'json', 'jsonl']))}\n{body}\n```"
    before, after = draw(remarks), draw(remarks)
    return made, f"{before}{body}\n{after}"


@some
@given(replies(pair_rows))
def test_pairs_survive_whatever_stands_around_them(reply: tuple[list[Any], str]) -> None:
    rows, text = reply
    found, _ = pairs(text)
    assert found == [(row["name"], row["instruction"]) for row in rows]


task_rows = st.builds(
    lambda pair, inner: pair | {"instances": inner},
    pair_rows,
    instance_rows | st.lists(instance_rows, min_size=1, max_size=3),
)


def as_instances(row: dict[str, Any]) -> list[Instance]:
    inner = row.get("instances", row)
    return [Instance(**each) for each in (inner if isinstance(inner, list) else [inner])]


@some
@given(replies(task_rows | instance_rows))
def test_instances_survive_whatever_stands_around_them(reply: tuple[list[Any], str]) -> None:
    rows, text = reply
    found, _ = instances(text)
    assert [each.instance for each in found] == [each for row in rows for each in as_instances(row)]


@some
@given(pair=pair_rows, rows=st.lists(instance_rows, min_size=1, max_size=4), data=st.data())
def test_a_cut_task_leaves_its_whole_instances(
    pair: dict[str, str], rows: list[dict[str, str]], data: Any
) -> None:
    written = f'{dumps(pair, data.draw)[:-1]}, "instances": ['
    ends = []
    for row in rows:
        written += ", " * bool(ends) + dumps(row, data.draw)
        ends.append(len(written))
    at = data.draw(st.integers(1, len(written) + 1))
    found, faults = instances(f"{written}]"[:at])
    expected = [Instance(**row) for row, end in zip(rows, ends, strict=True) if end <= at]
    assert [each.instance for each in found] == expected
    assert faults


tame = st.text(st.sampled_from("abcé {}[],.:\n"), min_size=1).filter(str.strip).map(str.strip)


@some
@given(
    rows=st.lists(
        st.fixed_dictionaries({"name": tame, "instruction": tame}), min_size=1, max_size=3
    )
)
def test_python_dictionaries_and_trailing_commas_are_read(rows: list[dict[str, str]]) -> None:
    expected = [(row["name"], row["instruction"]) for row in rows]
    assert pairs("\n".join(map(repr, rows)))[0] == expected
    assert pairs(repr(rows))[0] == expected
    assert pairs("\n".join(json.dumps(row)[:-1] + ",}" for row in rows))[0] == expected


@given(st.text() | st.lists(tricky | texts, max_size=30).map("".join))
@example("{" * 300 + "}" * 300)
@example('{"output": ' * 2000)
@example('{"output": ' + "[" * 990 + "]" * 990 + "}")
@example('{"output": ' + "1" * 5000 + "}")
@example("{'output': " + "1" * 5000 + "}")
@example('{"instances": [[1], null, {"output": {"a": NaN}}], "name": {"b": []}}')
@example('{"name": "\\ud83d", "instruction": "\\udc00", "output": "\\ud83d"}')
@settings(max_examples=100)
def test_no_text_makes_it_raise_or_gives_what_no_file_can_hold(text: str) -> None:
    found_pairs, faults = pairs(text)
    found, more_faults = instances(text)
    assert found_pairs or faults
    assert found or more_faults
    told = [part for pair in found_pairs for part in pair]
    told += [each.instance.output for each in found]
    assert all(part.strip() for part in told)
    told += [part for each in found for part in (each.instance.input, each.name, each.instruction)]
    told += [fault.text for fault in (*faults, *more_faults)]
    "".join(told).encode()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"input": "<noinput>", "output": "x"}', ("", "x")),
        ('{"input": "N/A", "output": "x"}', ("", "x")),
        ('{"input": null, "output": "x"}', ("", "x")),
        ('{"input": "None.", "output": "x"}', ("", "x")),
        ('{"input": " \\n", "output": "x"}', ("", "x")),
        ('{"output": "x"}', ("", "x")),
        ('{"input": "Na", "output": "sodium"}', ("Na", "sodium")),
        ('{"input": "[]", "output": "an empty list"}', ("[]", "an empty list")),
        ('{"input": 7, "output": 4.5}', ("7", "4.5")),
        ('{"input": [1, "é"], "output": {"A": "É"}}', ('[1, "é"]', '{"A": "É"}')),
        ('{"input": false, "output": true}', ("false", "true")),
        ('{"Input": "a", " OUTPUT ": "B"}', ("a", "B")),
        ('{"input": "    if x:\\n        y", "output": "A\\n\\n\\tB  \\n"}', None),
        ('{"input": "a", "output": "one\ntwo"}', ("a", "one\ntwo")),
        ("{'input': 'it\\'s', 'output': 'so } so'}", ("it's", "so } so")),
        ('{"input": "a", "output": "She said "no", twice"}', ("a", 'She said "no", twice')),
        ('{"input": "a", "output": "\\d+ \\(x\\)"}', ("a", "\\d+ \\(x\\)")),
        ('{input: "a", output: "b"}', ("a", "b")),
        ('{{"input": "a", "output": "b"}}', ("a", "b")),
        ('{"input": "a", "output": "Example 1: x\\nExample 2: y"}', None),
    ],
)
def test_an_instance_is_read_as_it_was_meant(reply: str, expected: tuple[str, str] | None) -> None:
    found, faults = instances(f"1. {reply}")
    given_, output = expected or json.loads(reply).values()
    assert [each.instance for each in found] == [Instance(given_, output)]
    assert not faults


@pytest.mark.parametrize(
    "reply",
    [
        '{"name": "a", "instruction": "Parse {"k": 1, "l": 2}, then stop."}',
        '{"name": "a", "instruction": "Parse {"k": 1, "l": 2}."}',
        '{"name": "a", "instruction": "one" + name}',
        '{"name": "a", "instruction": "one',
        '{"name": "a", "instruction": "use } to close, and',
        "{'name': 'a', 'instruction': 'use } to close, and",
        '{"name": "a", "instruction": "one}\nand the rest of it',
    ],
)
def test_half_an_instruction_is_never_taken_for_the_whole(reply: str) -> None:
    found, faults = pairs(f'{reply}\n{{"name": "b", "instruction": "Do."}}')
    assert found == [("b", "Do.")]
    assert faults
    assert reply.startswith(faults[0].text.strip())
