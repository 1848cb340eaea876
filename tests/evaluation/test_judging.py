"""Orders, repeats, asking again, and annotators that need more than a text."""

import math
from collections import Counter

import pytest
from tests.chat.server import Answer, FakeOpenAI, completion

from mini_lima.chat import Chat, ChatModel, Endpoint, Prices
from mini_lima.evaluation.annotation import annotate, expected_requests
from mini_lima.evaluation.annotators import Completion
from mini_lima.evaluation.judges import Rule, ShippedPrompt
from mini_lima.evaluation.library import undisturbed
from mini_lima.evaluation.shipped import load_shipped
from mini_lima.files import read_json, write_json


def judge_of(name):
    is_rule = name in ("longest", "coin")
    return Rule(name, f"mini_lima.evaluation.{name}") if is_rule else ShippedPrompt(name)


@pytest.fixture
def judged(tmp_path):
    """Judge answers to ``n`` instructions; returns the rows and the leaderboard."""

    def judge(n, server=None, *, annotator=None, prices=None, **changes):
        answers = [
            {"instruction": f"Instruction {k}.", "output": f"model says {k}", "generator": "m"}
            for k in range(n)
        ]
        write_json(tmp_path / "model_outputs.json", answers)
        references = [{**each, "output": "reference", "generator": "r"} for each in answers]
        write_json(tmp_path / "reference.json", references)
        chat = None
        if server:
            endpoint = Endpoint("fake", server.base_url, max_retries=0, concurrency=2)
            chat = Chat(ChatModel("judge"), endpoint, tmp_path / "cache", prices=prices)
        out = tmp_path / f"annotations{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        arguments = {
            "model_outputs": tmp_path,
            "reference_outputs": tmp_path / "reference.json",
            "limit": None,
            "judge": judge_of(annotator or ("chatgpt" if server else "longest")),
            "chat": chat,
            "orders": "both",
            "repeats": 1,
            "reading_attempts": 3,
            "most_failed": 0.02,
            "seed": 0,
            "bootstrap_samples": 100,
            "confidence": 0.95,
        } | changes
        if chat:
            judge.planned = expected_requests(**arguments)
        annotate(out, **arguments)
        return read_json(out / "annotations.json"), read_json(out / "leaderboard.json")

    return judge


def model_is_first(call):
    return call.last_message.rindex("model says") < call.last_message.rindex("reference")


def test_in_both_orders_a_judge_that_looks_at_the_place_alone_is_seen_through(judged):
    with FakeOpenAI(lambda call: "Output (a)") as server:
        rows, board = judged(10, server)
    assert len(rows) == 20
    assert board["win_rate"] == 50
    assert board["consistency"]["win_rate_first"] == 100
    assert board["consistency"]["win_rate_second"] == 0
    assert board["consistency"]["order_disagreement"] == 100
    assert Counter(row["model_first"] for row in rows) == {True: 10, False: 10}


@pytest.mark.parametrize(("orders", "first"), [("model_first", True), ("model_second", False)])
def test_a_single_order_is_the_one_that_was_asked_for(judged, orders, first):
    with FakeOpenAI(lambda call: "Output (a)") as server:
        rows, _ = judged(4, server, orders=orders)
        assert [model_is_first(call) for call in server.calls] == [first] * 4
    assert [row["model_first"] for row in rows] == [first] * 4


def test_repeats_are_asked_anew_and_kept_apart(judged):
    said = iter(["Output (a)", "Output (b)"] * 6)
    with FakeOpenAI(lambda call: next(said)) as server:
        rows, board = judged(3, server, repeats=2)
        assert len(server.calls) == len(judged.planned) == 12
    assert Counter(row["repeat"] for row in rows) == {0: 6, 1: 6}
    assert board["n_total"] == 12
    assert board["consistency"]["n_repeated"] == 6
    assert len({request.key for request in judged.planned}) == 12


def test_what_cannot_be_read_is_asked_again_so_many_times_and_then_counted(judged):
    asked = Counter()

    def reply(call):
        asked[call.last_message] += 1
        if "Instruction 0." in call.last_message:
            return "no idea"
        second = "Instruction 1." in call.last_message and asked[call.last_message] < 2
        return "It depends." if second else "Output (a)"

    with FakeOpenAI(reply) as server:
        rows, board = judged(3, server, reading_attempts=3)
        calls = len(server.calls)
        again, _ = judged(3, server, reading_attempts=3)
        assert len(server.calls) == calls, "attempts are kept, too"
    assert again == rows
    attempts = {row["instruction"]: row["attempts"] for row in rows}
    assert attempts == {"Instruction 0.": 3, "Instruction 1.": 2, "Instruction 2.": 1}
    assert board["failures"] == {"unparsable": 2}
    assert (board["n_total"], board["n_failed"], board["incomplete"]) == (4, 2, True)


def test_a_share_of_failures_that_was_allowed_leaves_the_result_complete(judged):
    with FakeOpenAI(lambda call: "?" if "tion 0." in call.last_message else "Output (a)") as server:
        _, board = judged(4, server, most_failed=0.25)
    assert (board["n_failed"], board["incomplete"]) == (2, False)


def test_every_verdict_knows_its_usage_and_cost(judged):
    with FakeOpenAI(lambda call: "Output (a)") as server:
        rows, _ = judged(2, server, prices=Prices(input=1.0, output=10.0))
    assert {row["usage"]["prompt_tokens"] for row in rows} == {7}
    assert {row["usd"] for row in rows} == {(7 * 1.0 + 5 * 10.0) / 1e6}


def weighted(first, tokens=("m", "M")):
    """A reply that gives the token for the first output the probability ``first``."""
    alternatives = [
        {"token": token, "logprob": math.log(share)}
        for token, share in zip(tokens, (first, 1 - first), strict=True)
    ]
    content = [{**alternatives[0], "top_logprobs": alternatives}]
    answer = completion(tokens[first < 0.5])
    answer.body["choices"][0]["logprobs"] = {"content": content}
    return answer


def test_a_weighted_verdict_is_alpaca_evals_to_the_last_digit(judged):
    with FakeOpenAI(lambda call: weighted(0.8 if model_is_first(call) else 0.3)) as server:
        rows, board = judged(3, server, annotator="weighted_alpaca_eval_gpt4_turbo")
        assert all(call.body["logprobs"] is True for call in server.calls)
        assert {call.body["top_logprobs"] for call in server.calls} == {5}
    assert {round(row["preference"], 12) for row in rows} == {1.8, 1.7}
    assert board["win_rate"] == pytest.approx(75)
    with undisturbed():
        from alpaca_eval.completion_parsers import logprob_parser

        (theirs,) = logprob_parser(weighted(0.3).body["choices"][0], "m", ["m", "M"], False)
    assert theirs == pytest.approx(3 - 1.3)


def test_without_log_probabilities_a_weighted_verdict_is_a_failure_and_no_guess(judged):
    with FakeOpenAI(lambda call: "m") as server:
        _, board = judged(2, server, annotator="weighted_alpaca_eval_gpt4_turbo")
    assert (board["win_rate"], board["n_failed"]) == (None, 4)


def test_an_annotator_that_calls_a_function_is_read_from_its_arguments(judged):
    def reply(call):
        best = "Output (a)" if model_is_first(call) else "Output (b)"
        function = {"name": "print_best_model", "arguments": f'{{"best_output": "{best}"}}'}
        answer = completion(None, finish_reason="tool_calls")
        answer.body["choices"][0]["message"]["tool_calls"] = [{"function": function}]
        return answer

    with FakeOpenAI(reply) as server:
        _, board = judged(3, server, annotator="chatgpt_fn")
        assert server.calls[0].body["tools"][0]["function"]["name"] == "print_best_model"
    assert board["win_rate"] == 100


def test_a_prompt_for_a_model_that_completes_text_is_one_message(judged):
    with FakeOpenAI(lambda call: "Output (a)") as server:
        judged(1, server, annotator="claude")
    ((message,),) = {tuple(m["role"] for m in call.body["messages"]) for call in server.calls}
    assert message == "user"
    assert not any("Human:" in call.last_message[:20] for call in server.calls)


def test_a_coin_has_no_opinion_and_falls_the_same_way_again(judged):
    rows, board = judged(400, annotator="coin", repeats=2)
    again, _ = judged(400, annotator="coin", repeats=2)
    assert rows == again
    assert 45 < board["win_rate"] < 55
    assert board["consistency"]["flip_rate"] == pytest.approx(50, abs=6)
    assert board["consistency"]["order_disagreement"] == pytest.approx(50, abs=6)
    other, _ = judged(400, annotator="coin", repeats=2, seed=1)
    assert [row["preference"] for row in other] != [row["preference"] for row in rows]


def test_an_endpoint_s_refusal_is_not_asked_again_as_if_it_could_be_read(judged):
    with FakeOpenAI(lambda call: Answer(400, {"error": {"code": "content_filter"}})) as server:
        _, board = judged(1, server)
        assert len(server.calls) == 2
    assert board["failures"] == {"content_filter": 2}


def test_reading_never_raises_on_odd_log_probabilities():
    judge = load_shipped("weighted_alpaca_eval_gpt4_turbo")
    for odd in ([], [{}], [{"top_logprobs": []}], [{"top_logprobs": [{"token": "x"}]}], [None]):
        assert judge.read(Completion("m", logprobs=odd)) is None
