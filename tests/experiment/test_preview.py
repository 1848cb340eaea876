"""`mini-lima preview`: examples as SFT sees them."""

import os

import pytest

from mini_lima.cli import main
from mini_lima.files import write_jsonl

MODEL = ("--model", "embedded:qwen-tiny")
ROWS = [
    {"id": "river", "instruction": "Name a river.", "input": "", "output": "The Nile."},
    {"id": "sum", "instruction": "Add.", "input": "1 2", "output": "<|im_end|> is 3"},
    {"id": "long", "instruction": "Count.", "input": "", "output": "one two three " * 50},
]


@pytest.fixture
def store(tmp_path):
    for number, rows in enumerate((ROWS[:1], ROWS)):
        file = tmp_path / "data" / f"set-{number}" / "examples.jsonl"
        file.parent.mkdir(parents=True)
        write_jsonl(file, rows)
        os.utime(file, (number, number))
    return tmp_path


def shown(capsys, *arguments):
    assert main(["preview", *MODEL, *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_answer_with_its_end_of_turn_is_marked_and_nothing_else(store, capsys):
    told = shown(capsys, "--store", store, "--id", "river")
    assert "<|im_start|>assistant\n⟦The Nile.<|im_end|>⟧\n" in told
    assert told.count("⟦") == 1


def test_examples_that_are_too_long_are_counted_before_anything_is_trained(store, capsys):
    told = shown(capsys, "--store", store, "--max-length", 100, "--id", "long")
    assert "more than 100, " in told
    assert "and 1 have more than sft.max_length=100" in told
    assert "sft.overlong=drop" in told


def test_text_of_a_teacher_cannot_move_the_cursor(store, capsys):
    evil = ROWS[0] | {"id": "evil\x07", "output": "\x1b[2Jgone"}
    write_jsonl(store / "data" / "set-1" / "examples.jsonl", [evil])
    told = shown(capsys, "--store", store)
    assert "⟦\\x1b[2Jgone" in told
    assert r"example evil\x07:" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--id", "lake"], "no example 'lake'"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "foreign"], "examples.jsonl:1: id: field required"),
        (["--chat-template", "nowhere.jinja"], "nowhere.jinja"),
    ],
)
def test_a_mistake_is_told_in_a_few_lines(store, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(store)
    (store / "foreign").mkdir()
    (store / "foreign" / "examples.jsonl").write_text('{"instruction": "i", "output": "o"}\n')
    assert main(["preview", *MODEL, "--store", str(store), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") <= 2
    assert said in told.err


@pytest.mark.parametrize("given", ["[1]", "3", "null", "[" * 9999])
def test_template_kwargs_are_an_object_of_json(capsys, given):
    with pytest.raises(SystemExit):
        main(["preview", *MODEL, "--template-kwargs", given])
    assert "--template-kwargs" in capsys.readouterr().err
