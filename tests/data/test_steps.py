"""Steps of one's own: what an arm makes of them, and what is said about mistakes."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mini_lima import pipeline
from mini_lima.chat import Chat, ChatModel, Endpoint
from mini_lima.config import arms
from mini_lima.data import run_step
from mini_lima.data.examples import Earlier, read_examples
from mini_lima.data.trace import trace
from mini_lima.errors import UserError
from mini_lima.files import read_json, read_jsonl
from mini_lima.store.stages import Stage, Store, walk
from tests.chat.server import FakeOpenAI
from tests.composing import configured

OURS = "tests.data.steps_of_ours"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("abc\nxyz\n")
    return path


def data_stages(tmp_path: Path, steps: dict[str, Any], **data: Any) -> list[Stage]:
    """The data stages of a cell whose arm has ``steps``, each {function: keywords} or whole."""
    config = configured("experiment=embedded", "data=naive", f"store={tmp_path / 'store'}")
    config.data.steps = {
        name: None if step is None else {"_target_": f"{OURS}.{name}", **step}
        for name, step in steps.items()
    }
    config.data.others = data
    cell = pipeline.build_cell(config, {})
    return [each for each in walk(cell.last) if each.name == "data"]


def built(tmp_path: Path, steps: dict[str, Any]) -> Path:
    return Store(tmp_path / "store").build(data_stages(tmp_path, steps)[-1])


def test_a_step_need_only_write_instructions_and_outputs(tmp_path: Path, lines: Path) -> None:
    folder = built(tmp_path, {"bare": {"file": str(lines)}})
    assert [(e.id, e.task, e.source, e.output) for e in read_examples(folder)] == [
        ("bare.0", "bare.0", "bare", "cba"),
        ("bare.1", "bare.1", "bare", "zyx"),
    ]
    assert {path.name for path in folder.iterdir()} >= {"card.md", "stats.json", "lengths.svg"}


def test_what_an_output_was_before_and_what_was_left_out_is_kept(
    tmp_path: Path, lines: Path
) -> None:
    steps = {"bare": {"file": str(lines)}, "shout": {}, "first": {"share": 0.5}}
    folder = built(tmp_path, steps)
    [example] = read_examples(folder)
    assert (example.id, example.output, example.source) == ("bare.0", "CBA", "shout")
    assert example.earlier == (Earlier("cba", "bare"),)
    stats = read_json(folder / "stats.json")
    assert stats["funnel"]["first"]["rejected"] == {"left out": 1}
    assert (stats["before"]["step"], stats["before"]["examples"]) == ("shout", 2)
    told = trace(folder, "bare.0", tmp_path / "no cache is needed")
    assert told.index("cba") < told.index("CBA")


def test_arms_share_the_steps_with_which_they_begin(tmp_path: Path) -> None:
    labels = {}
    for arm in ("naive", "improved"):
        config = configured("experiment=embedded", f"data={arm}", f"store={tmp_path}")
        stages = walk(pipeline.build_cell(config, {}).last)
        labels[arm] = [s.fingerprint for s in stages if s.name == "data"]
    assert labels["improved"][:1] == labels["naive"]


def test_a_step_reads_other_arms_and_earlier_steps_by_name(tmp_path: Path, lines: Path) -> None:
    bare = {"_target_": f"{OURS}.bare", "file": str(lines)}
    other = {"steps": {"bare": bare, "first": {"_target_": f"{OURS}.first", "share": 0.5}}}
    steps = {"bare": bare, "shout": {}, "both": {"_inputs_": {"other": "half"}}}
    stages = data_stages(tmp_path, steps, half=other)
    assert len(stages) == 4, "the first step of both arms is one stage"
    folder = Store(tmp_path / "store").build(stages[-1])
    assert [each.output for each in read_examples(folder)] == ["CBA"]


def test_editing_ones_own_function_makes_its_data_again_and_a_file_is_known_by_its_content(
    tmp_path: Path, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint() -> str:
        return data_stages(tmp_path, {"bare": {"file": str(lines)}})[-1].fingerprint

    before = fingerprint()
    assert fingerprint() == before
    lines.write_text("abc\n")
    assert fingerprint() != before
    lines.write_text("abc\nxyz\n")
    assert fingerprint() == before
    from mini_lima.store.targets import Target

    monkeypatch.setattr(Target, "code", "another file")
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "examples.jsonl:1"),
        (json.dumps({"instruction": "a", "output": ""}), "output: must not be blank"),
        (json.dumps({"instruction": "a", "output": 3}), "output: input should be a valid string"),
        (json.dumps({"instruction": "a", "output": "b", "answer": "b"}), "answer: "),
        ("\n".join([json.dumps({"id": "x", "instruction": "a", "output": "b"})] * 2), "jsonl:1"),
        (json.dumps({"id": [1], "instruction": "a", "output": "b"}), "id: "),
        (json.dumps({"instruction": "a", "output": "\ud800"}), "hex escape"),
        (json.dumps({"instruction": "a", "output": "b", "fields": [1]}), "fields: "),
        ("", "no example"),
    ],
)
def test_what_a_step_writes_is_checked(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match="step written") as refused:
        built(tmp_path, {"written": {"text": text}})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({}, "data.steps: has no step"),
        ({"keep": {}}, "no step before it"),
        ({"bare": {"file": "x"}, "first": {}}, "data.steps.first.share has no value"),
        ({"bare": {"file": "x"}, "first": {"share": 2}}, "data.steps.first.share=2"),
        ({"bare": {"file": "x"}, "first": {"shar": 1}}, "did you mean share?"),
        ({"bare": {"file": 3}}, "data.steps.bare.file"),
        ({"bare": {"file": "x"}, "keep": {"_target_": "nowhere.keep"}}, "no module nowhere"),
        ({"bare": {"file": "x"}, "keep": {"_target_": f"{OURS}.kep"}}, "did you mean keep?"),
        ({"bare": {"file": "x"}, "keep": {"_target_": f"{OURS}.Path"}}, "no function"),
        ({"bare": {"file": "x"}, "both": {"_inputs_": {"other": "no"}}}, "data.others"),
        ({"bare": {"file": "x"}, "keep": {"_inputs_": {"dta": "bare"}}}, "_inputs_.dta"),
        ({"bare": {"file": "x"}, "keep": {"_inputs_": ["bare"]}}, "_inputs_"),
        ({"bare": {"file": "x"}, "written": {"text": ""}}, "no later step reads it"),
        ({"bare": {"file": "x"}, "unforeseen": {}}, "forecast_by"),
        ({"bare": {"file": "x"}, "keep": {"_inputs": {}}}, "_inputs"),
    ],
)
def test_what_is_wrong_with_steps_is_said_in_one_line(steps: dict[str, Any], said: str) -> None:
    whole = {name: {"_target_": f"{OURS}.{name}", **step} for name, step in steps.items()}
    with pytest.raises(UserError) as refused:
        arms.last_step({"steps": whole})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("replies", "least_used", "told"),
    [
        (["", "fine"], 0.5, None),
        (["", "fine"], 0.6, "polish: 1 of the 2 .*1 × empty reply"),
        (["", ""], 0.5, "polish: 0 of the 2 .*2 × empty reply"),
        (["cba", "zyx"], 0.5, "polish: 0 of the 2 .*2 × it changes no example"),
    ],
)
def test_a_step_of_ones_own_fails_too_if_its_teacher_says_too_little(
    tmp_path: Path, lines: Path, replies: list[str], least_used: float, told: str | None
) -> None:
    folder = tmp_path / "polished"
    folder.mkdir()
    with FakeOpenAI(lambda call: replies[call.number]) as server:
        endpoint = Endpoint("fake", server.base_url, concurrency=1, max_retries=0)
        with pytest.raises(UserError, match=told) if told else nullcontext():
            run_step(
                folder,
                step=f"{OURS}.polish",
                name="polish",
                keywords={},
                teacher=Chat(ChatModel("fake"), endpoint, tmp_path / "cache"),
                inputs=["data"],
                least_used=least_used,
                data=built(tmp_path, {"bare": {"file": str(lines)}}),
            )
    if not told:
        (short,) = read_json(folder / "stats.json")["shortfalls"]
        assert (short["used"], short["asked_for"]) == (1, 2)


def test_a_file_of_which_too_little_can_be_read_is_no_data_set(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b"}] * 2 + [{"instruction": "a", "output": ""}]
    for bad, told in ((1, None), (3, "file: 2 of the 5 .*3 × output: must not be blank")):
        (tmp_path / "rows.json").write_text(json.dumps([*rows, *rows[2:] * (bad - 1)]))
        file = {"file": str(tmp_path / "rows.json"), "unreadable": "drop"}
        step = {"file": {"_target_": "mini_lima.data.from_file", **file}}
        if told is None:
            assert read_json(built(tmp_path, step) / "stats.json")["shortfalls"][0]["used"] == 2
        else:
            with pytest.raises(UserError, match=told):
                built(tmp_path, step)


def test_only_arms_that_ask_a_teacher_or_read_seeds_need_them(tmp_path: Path, lines: Path) -> None:
    asks = arms.last_step({"steps": configured("data=improved").data.steps, "seeds": "x"})
    assert asks.wants("teacher")
    assert asks.wants("seeds")
    bare = {"_target_": f"{OURS}.bare", "file": str(lines)}
    asks_nobody = arms.last_step({"steps": {"bare": bare}})
    assert not asks_nobody.wants("teacher")
    assert not asks_nobody.wants("seeds")


def test_an_example_that_is_kept_is_kept_whole(tmp_path: Path) -> None:
    row = {
        "instruction": "a",
        "output": "b",
        "system": "s",
        "history": [["q", "r"]],
        "fields": {"k": 1},
    }
    folder = built(tmp_path, {"written": {"text": json.dumps(row)}, "keep": {}})
    [found] = read_jsonl(folder / "examples.jsonl")
    assert {key: found[key] for key in row} == row
