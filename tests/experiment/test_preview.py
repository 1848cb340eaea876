"""`mini-lima preview`: examples as SFT sees them."""

import os

import pytest

from mini_lima.cli import main
from mini_lima.config.sources import ASSETS
from mini_lima.experiment.preview import marked
from mini_lima.files import write_jsonl
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate

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


def test_without_the_marks_it_is_the_whole_text(store):
    template = ChatTemplate(load_tokenizer(ASSETS / "qwen-tiny", None))
    conversation = template.conversation("Add.", "1 2", "<|im_end|> is 3")
    whole = template.tokenizer.decode(conversation.prompt + conversation.response)
    assert marked(conversation, template.tokenizer, ("", "")) == whole


def test_the_newest_data_set_is_shown_from_its_beginning_and_counted_whole(store, capsys):
    told = shown(capsys, "--store", store, "-n", 2)
    assert [name for name in ("river", "sum", "long") if f"example {name}:" in told] == [
        "river",
        "sum",
    ]
    assert "\n3 examples, " in told


def test_examples_that_are_too_long_are_counted_before_anything_is_trained(store, capsys):
    told = shown(capsys, "--store", store, "--max-length", 100, "--id", "long")
    assert "more than 100, " in told
    assert "and 1 have more than sft.max_length=100" in told
    assert "sft.overlong=drop" in told


def test_another_template_and_data_set_can_be_tried(store, capsys):
    file = store / "loud.jinja"
    file.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role | upper }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>ASSISTANT\n{% endif %}",
        encoding="utf-8",
    )
    told = shown(capsys, "--data", store / "data" / "set-0", "--chat-template", file)
    assert "<|im_start|>ASSISTANT\n⟦The Nile.<|im_end|>⟧" in told
    assert "\n1 examples, " in told


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
        (["--chat-template", "nowhere.jinja"], "nowhere.jinja"),
    ],
)
def test_a_mistake_is_one_line(store, capsys, arguments, said):
    assert main(["preview", *MODEL, "--store", str(store), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert said in told.err


def test_a_store_without_data_sets_is_said(tmp_path, capsys):
    assert main(["preview", *MODEL, "--store", str(tmp_path)]) == 2
    assert "no finished data set" in capsys.readouterr().err
