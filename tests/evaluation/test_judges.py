"""Which judge is configured, and what comes of it: prompts that need more than a text, and rules."""

import hashlib
import math

import pytest
from pydantic import TypeAdapter

from mini_lima.errors import UserError
from mini_lima.evaluation.judges import Judge, ShippedPrompt, choose
from tests.chat.server import FakeOpenAI, completion
from tests.evaluation.judging import answers, chat_of, judge

HERE = __name__
TASK = "{instruction}\nA: {output_1}\nB: {output_2}\nThe task again: {instruction}\nA or B?"
N = 4


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
    """Judge answers that are longer than their references; the rows and the leaderboard."""
    runs = iter(range(99))

    def run(choice, server=None, prompt=None, planned=None, **sampling):
        models, references = answers(["longer {output_1}"] * N), answers(["short"] * N, "r")
        chat = chat_of(server, tmp_path / "cache.sqlite", **sampling) if server else None
        given = {"prompt": prompt, "planned": planned, "orders": "model_second"}
        return judge(tmp_path / f"run{next(runs)}", models, references, choice, chat, **given)

    return run


def test_a_prompt_file_is_put_to_the_model_and_read_as_it_is_said(judged, file):
    prompt = file(f"<|im_start|>system\nBe strict.\n<|im_end|>\n<|im_start|>user\n{TASK}<|im_end|>")
    choice, planned = chosen(prompt=prompt, reading="exact", answers=["A", "B"]), []
    with FakeOpenAI(lambda call: "B" if "Instruction 0" in call.last_message else "A") as server:
        rows, board = judged(choice, server, prompt, planned, temperature=0.0)
        sent = {call.last_message: call.body["messages"] for call in server.calls}
        assert {request.messages[-1][1] for request in planned} == set(sent)
    asked = (
        "Instruction 0.\nA: short\nB: longer {output_1}\nThe task again: Instruction 0.\nA or B?"
    )
    assert sent[asked][0] == {"role": "system", "content": "Be strict."}
    assert [row.preference for row in rows] == [2, 1, 1, 1]
    assert {row.annotator for row in rows} == {board["annotator"]} == {"judge (strict)"}
    assert TypeAdapter(Judge).validate_python(board["judge"]) == Judge(
        "judge (strict)",
        prompt="strict",
        prompt_sha256=hashlib.sha256(prompt.read_bytes()).hexdigest(),
        reading="exact",
        answers=["A", "B"],
        model="judge",
        endpoint="fake",
        sampling={"temperature": 0.0},
    )


def weighted(first, second, of_first):
    """A reply whose token for the first output has the probability ``of_first``."""
    alternatives = [
        {"token": token, "logprob": math.log(share)}
        for token, share in ((first, of_first), (second, 1 - of_first))
    ]
    answer = completion(first if of_first > 0.5 else second)
    content = [{**alternatives[of_first < 0.5], "top_logprobs": alternatives}]
    answer.body["choices"][0]["logprobs"] = {"content": content}
    return answer


def test_weighted_verdicts_are_alpaca_evals_and_without_probabilities_there_is_none(judged, file):
    prompt = file(TASK)
    own = chosen(prompt=prompt, reading="weighted", answers=["A", "B"])
    with FakeOpenAI(lambda call: weighted("A", "B", 0.1)) as server:
        rows, board = judged(own, server, prompt)
    assert [row.preference for row in rows] == pytest.approx([1.9] * N)
    assert board["judge"]["sampling"] == {"logprobs": True, "top_logprobs": 5}
    shipped = ShippedPrompt("weighted_alpaca_eval_gpt4_turbo")
    with FakeOpenAI(lambda call: weighted("m", "M", 0.3)) as server:
        rows, _ = judged(shipped, server)
        assert all(call.body["logprobs"] is True for call in server.calls)
    assert [row.preference for row in rows] == pytest.approx([1.7] * N)
    with FakeOpenAI(lambda call: "m") as server:
        _, board = judged(shipped, server, model="another")
    assert (board["win_rate"], board["n_failed"]) == (None, N)


def test_an_annotator_that_calls_a_function_is_read_from_its_arguments(judged):
    def reply(call):
        function = {"name": "print_best_model", "arguments": '{"best_output": "Output (b)"}'}
        answer = completion(None, finish_reason="tool_calls")
        answer.body["choices"][0]["message"]["tool_calls"] = [{"function": function}]
        return answer

    with FakeOpenAI(reply) as server:
        _, board = judged(ShippedPrompt("chatgpt_fn"), server)
        assert server.calls[0].body["tools"][0]["function"]["name"] == "print_best_model"
    assert board["win_rate"] == 100


def test_a_prompt_that_no_verdict_can_come_of_is_refused(file):
    for text, complaint in (
        ("{instruction} {output_1} {output1}: (a) or (b)?", r"strict\.txt: lacks \{output_2\}"),
        (TASK, r"never says \(a\) or \(b\)"),
        (f"<|im_start|>user\n(a) (b) {TASK}", "<.im_end.>"),
        (f"<|im_start|>judge\n(a) (b) {TASK}<|im_end|>", "system, user or assistant"),
        (f"<|im_start|>user\n(a) (b) {TASK}<|im_end|> Thanks.", "nothing between turns"),
    ):
        with pytest.raises(UserError, match=complaint):
            chosen(prompt=file(text))
    for how, given in (
        ("named", ["A", "B"]),
        ("exact", []),
        ("exact", ["A", "A"]),
        ("weighted", ["A", "B", "C"]),
    ):
        with pytest.raises(UserError, match=r"annotator\.answers="):
            chosen(prompt=file(f"{TASK} C"), reading=how, answers=given)


def shorter(instruction: str, output_1: str, output_2: str, margin: int = 0) -> float | None:
    if instruction in ("Instruction 0.", "Instruction 1."):
        return None if instruction == "Instruction 0." else math.nan
    first, second = len(output_1), len(output_2)
    return 1.5 if abs(first - second) <= margin else 1 if first < second else 2


def share_of_wins(output_1: str, output_2: str) -> float:
    return 0.0


def test_a_rule_judges_without_a_model_and_may_have_no_preference(judged):
    rows, board = judged(chosen(rule={"_target_": f"{HERE}.shorter"}))
    assert [row.preference for row in rows] == [None, None, 1, 1]
    assert board["failures"] == {"no preference": 2}
    assert (board["judge"]["rule"], board["judge"]["model"]) == (f"{HERE}.shorter", None)
    assert board["judge"]["code"] is not None
    rows, _ = judged(chosen(rule={"_target_": f"{HERE}.shorter", "margin": 100}))
    assert [row.preference for row in rows[2:]] == [1.5, 1.5]
    with pytest.raises(UserError, match=r"share_of_wins returned 0\.0: .* from 1 .* to 2"):
        judged(chosen(rule={"_target_": f"{HERE}.share_of_wins"}))
