"""Judges of one's own: prompt files, rules, and the names by which they are told apart."""

import hashlib
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.chat.server import FakeOpenAI, completion

from mini_lima.chat import Chat, ChatModel, Endpoint
from mini_lima.errors import UserError
from mini_lima.evaluation import prompts
from mini_lima.evaluation.annotation import annotate, expected_requests
from mini_lima.evaluation.annotators import Completion
from mini_lima.evaluation.judges import (
    Judge,
    OwnPrompt,
    Rule,
    ShippedPrompt,
    choose,
    distinct_names,
    load_annotator,
)
from mini_lima.evaluation.library import Shown
from mini_lima.files import read_json, write_json

HERE = __name__
TASK = "{instruction}\nA: {output_1}\nB: {output_2}\nThe task again: {instruction}\nA or B?"


def shorter(instruction: str, output_1: str, output_2: str, margin: int = 0) -> float | None:
    if instruction == "Instruction 0":
        return None
    if instruction == "Instruction 1":
        return math.nan
    first, second = len(output_1), len(output_2)
    return 1.5 if abs(first - second) <= margin else 1 if first < second else 2


def share_of_wins(output_1: str, output_2: str) -> float:
    return 0.0


def knows_nothing(temperature: float = 1.0) -> float:
    return temperature


def chosen(**given):
    usual = {"name": None, "prompt": None, "reading": "named", "answers": [], "rule": {}}
    return choose("annotator", **usual | given)


@pytest.fixture
def file(tmp_path):
    def write(text, name="strict.txt"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def judged(tmp_path):
    """Judge four answers, each longer than its reference; returns the rows and the leaderboard."""

    def judge(choice, server=None, prompt=None, model="judge-1", **sampling):
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        (folder / "annotations").mkdir(parents=True)
        rows = [
            {"instruction": f"Instruction {k}", "output": "longer {output_1}"} for k in range(4)
        ]
        write_json(folder / "model_outputs.json", rows)
        references = [{**row, "output": "short"} for row in rows]
        write_json(folder / "reference.json", references)
        chat = None
        if server:
            endpoint = Endpoint("fake", server.base_url, max_retries=0)
            chat = Chat(ChatModel(model, **sampling), endpoint, tmp_path / "cache.sqlite")
        arguments = {
            "model_outputs": folder,
            "reference_outputs": folder / "reference.json",
            "limit": None,
            "judge": choice,
            "chat": chat,
            "prompt": prompt,
            "orders": "model_second",
            "repeats": 1,
            "reading_attempts": 1,
            "most_failed": 0.02,
            "seed": 0,
            "bootstrap_samples": 50,
            "confidence": 0.95,
        }
        judge.planned = expected_requests(**arguments) if server else []
        annotate(folder / "annotations", **arguments)
        found = [folder / "annotations" / f"{name}.json" for name in ("annotations", "leaderboard")]
        return tuple(read_json(each) for each in found)

    return judge


def test_a_prompt_file_is_put_to_the_model_and_read_as_it_is_said(judged, file):
    prompt = file(f"<|im_start|>system\nBe strict.\n<|im_end|>\n<|im_start|>user\n{TASK}<|im_end|>")
    choice = chosen(prompt=prompt, reading="exact", answers=["A", "B"])
    with FakeOpenAI(lambda call: "B" if "Instruction 0" in call.last_message else "A") as server:
        rows, board = judged(choice, server, prompt, temperature=0.0)
        sent = {call.last_message: call.body["messages"] for call in server.calls}
        assert {request.messages[-1][1] for request in judged.planned} == set(sent)
    asked = "Instruction 0\nA: short\nB: longer {output_1}\nThe task again: Instruction 0\nA or B?"
    assert sent[asked][0] == {"role": "system", "content": "Be strict."}
    assert [row["preference"] for row in rows] == [2, 1, 1, 1]
    assert {row["annotator"] for row in rows} == {board["annotator"]} == {"judge-1 (strict)"}
    recorded = TypeAdapter(Judge).validate_python(board["judge"])
    assert recorded == Judge(
        "judge-1 (strict)",
        prompt="strict",
        prompt_sha256=hashlib.sha256(prompt.read_bytes()).hexdigest(),
        reading="exact",
        answers=["A", "B"],
        model="judge-1",
        endpoint="fake",
        sampling={"temperature": 0.0},
    )


def test_a_prompt_of_ones_own_can_be_weighted_as_alpaca_eval_2_is(judged, file):
    def reply(call):
        tokens = [
            {"token": "B", "logprob": math.log(0.9)},
            {"token": "A", "logprob": math.log(0.1)},
        ]
        answer = completion("B")
        content = [{**tokens[0], "top_logprobs": tokens}]
        answer.body["choices"][0]["logprobs"] = {"content": content}
        return answer

    prompt = file(TASK)
    with FakeOpenAI(reply) as server:
        rows, board = judged(
            chosen(prompt=prompt, reading="weighted", answers=["A", "B"]), server, prompt
        )
    assert [row["preference"] for row in rows] == pytest.approx([1.9] * 4)
    assert board["judge"]["sampling"] == {"logprobs": True, "top_logprobs": 5}


@pytest.mark.parametrize(
    ("how", "said", "finish", "preference"),
    [
        ("named", "Output (b)", "stop", 2),
        ("exact", " B\n", "stop", 2),
        ("exact", "B.", "stop", None),
        ("last", "B is wrong, A is right: A", "stop", 1),
        ("last", "It is a tie: C.", "stop", 1.5),
        ("last", "BA", "stop", None),
        ("last", "A is good, but", "length", None),
    ],
)
def test_answers_are_read_as_the_configuration_says(how, said, finish, preference):
    read = prompts.votes_by(how, () if how == "named" else ("A", "B", "C"))
    assert read(Completion(said, finish_reason=finish)) == [preference]


VISIBLE = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1)


@given(said=st.text(), answers=st.lists(VISIBLE, min_size=2, max_size=3, unique=True))
def test_no_answer_makes_reading_fail_and_the_last_word_counts(said, answers):
    for how in ("exact", "last"):
        assert prompts.votes_by(how, answers)(Completion(said))[0] in (1, 1.5, 2, None)
    read = prompts.votes_by("last", answers)
    assert read(Completion(f"{said} {answers[0]}"))[0] == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{instruction} {output_1} {output1}: (a) or (b)?", r"strict\.txt: lacks \{output_2\}"),
        (TASK, r"never says \(a\) or \(b\)"),
        (f"<|im_start|>user\n(a) (b) {TASK}", "<.im_end.>"),
        (f"<|im_start|>judge\n(a) (b) {TASK}<|im_end|>", "system, user or assistant"),
        (f"<|im_start|>user\n(a) (b) {TASK}<|im_end|> Thanks.", "nothing between turns"),
    ],
)
def test_a_prompt_that_no_verdict_can_come_of_is_refused(file, text, complaint):
    with pytest.raises(UserError, match=complaint):
        chosen(prompt=file(text))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "chatgtp"}, r"annotator\.name=chatgtp: .*did you mean chatgpt\?"),
        ({"name": "coin"}, "choose the option annotator=coin"),
        ({"name": "../evaluators_configs/chatgpt"}, "no such annotator"),
        ({}, r"annotator has no judge: give annotator\.name"),
        ({"name": "chatgpt", "reading": "last"}, r"for annotator\.prompt, which is not given"),
        ({"rule": {"_target_": f"{HERE}.longer"}}, r"annotator\.rule\._target_=.*longer"),
        ({"rule": {"_target_": f"{HERE}.shorter", "margin": "x"}}, r"annotator\.rule\.margin="),
        ({"rule": {"_target_": f"{HERE}.shorter", "margn": 1}}, "did you mean margin"),
        ({"rule": {"_target_": f"{HERE}.knows_nothing"}}, "takes none of instruction, output_1"),
    ],
)
def test_a_judge_that_does_not_exist_is_refused_with_what_could_be_meant(changes, complaint):
    with pytest.raises(UserError, match=complaint):
        chosen(**changes)


@pytest.mark.parametrize(
    ("how", "answers"),
    [("named", ["A", "B"]), ("exact", []), ("exact", ["A", "A"]), ("weighted", ["A", "B", "C"])],
)
def test_answers_that_do_not_go_with_the_reading_are_refused(file, how, answers):
    with pytest.raises(UserError, match=r"annotator\.answers="):
        chosen(prompt=file(f"{TASK} C"), reading=how, answers=answers)


def test_a_rule_judges_without_a_model_and_may_have_no_preference(judged):
    choice = chosen(rule={"_target_": f"{HERE}.shorter"})
    rows, board = judged(choice)
    assert [row["preference"] for row in rows] == [None, None, 1, 1]
    assert board["failures"] == {"no preference": 2}
    assert board["annotator"] == "shorter"
    assert (board["judge"]["rule"], board["judge"]["model"]) == (f"{HERE}.shorter", None)
    assert board["judge"]["code"] is not None
    rows, _ = judged(chosen(rule={"_target_": f"{HERE}.shorter", "margin": 100}, name="near"))
    assert [row["preference"] for row in rows[2:]] == [1.5, 1.5]
    assert rows[0]["annotator"] == "near"


def test_what_is_no_preference_is_not_taken_for_one(judged):
    with pytest.raises(UserError, match=r"share_of_wins returned 0\.0: .* from 1 .* to 2"):
        judged(chosen(rule={"_target_": f"{HERE}.share_of_wins"}))


def test_a_coin_is_tossed_once_for_an_occasion():
    coin = load_annotator(Rule("coin", "mini_lima.evaluation.coin"))
    shown = [Shown(f"Instruction {k}", "a", "b") for k in range(200)]
    tosses = [coin.decide(each, "model first, 0, 0") for each in shown]
    assert tosses == [coin.decide(each, "model first, 0, 0") for each in shown]
    assert tosses != [coin.decide(each, "model first, 1, 0") for each in shown]
    assert 60 < tosses.count(1.0) < 140


def test_two_models_under_one_prompt_are_two_judges(judged):
    with FakeOpenAI(lambda call: "Output (a)") as server:
        boards = [judged(ShippedPrompt("chatgpt"), server, model=m)[1] for m in ("one", "two")]
    assert [board["annotator"] for board in boards] == ["one (chatgpt)", "two (chatgpt)"]


def test_judges_of_one_name_are_told_apart_by_what_they_differ_in():
    judge = Judge("m (p)", prompt="p", prompt_sha256="0" * 64, model="m", endpoint="here")
    warm = replace(judge, sampling={"temperature": 1.0})
    edited = replace(judge, prompt_sha256="f" * 64, endpoint="there")
    other = replace(judge, name="m (q)", prompt="q")
    assert distinct_names([judge, other]) == ["m (p)", "m (q)"]
    assert distinct_names([judge, warm]) == ["m (p), temperature=default", "m (p), temperature=1.0"]
    assert distinct_names([judge, edited, edited]) == [
        "m (p), endpoint=here, prompt=00000000",
        *["m (p), endpoint=there, prompt=ffffffff"] * 2,
    ]


def test_the_name_of_the_option_that_was_begun_with_gives_way_to_the_files(file):
    prompt = file(f"{TASK} (a) (b)")
    assert chosen(name="chatgpt", prompt=prompt) == OwnPrompt("strict")
    assert chosen(name="mine", prompt=prompt) == OwnPrompt("mine")
