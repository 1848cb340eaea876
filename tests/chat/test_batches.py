"""Batch mode against a real server on loopback: the same replies, at batch prices, nothing lost."""

import json
import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.chat import (
    Budget,
    ChatModel,
    Ledger,
    Prices,
    ResponseCache,
    complete,
    estimate,
)
from mini_lima.chat.batch_table import Line
from mini_lima.chat.batches import in_parts
from mini_lima.errors import UserError
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.batches import COMPLETED, FakeBatches, course
from tests.chat.server import FAULTS, Answer, FakeOpenAI, completion, refusal

TEXTS = ["one {x}", "Grüße 世界\n", "\u2028 \x00", "", "five"]
PRICES = Prices(input=1000, output=10_000, batch_input=500, batch_output=5000)
USUAL = (7 * 500 + 5 * 5000) / 1e6
"""Dollars for an answer of the server in a batch."""
SECRET = "sk-do-not-tell-77aa01"
CHECKED = {"code": "invalid_json_line", "message": f"Not JSON\nsays {SECRET}", "line": 3}


@pytest.fixture
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def batches(server):
    return FakeBatches(server)


def in_batches(server, **changes):
    return endpoint_of(server, **{"mode": "batch", "batch_poll": 0.01} | changes)


def ask(server, cache, texts="abcde", *, mode="batch", **options):
    endpoint = in_batches(server, mode=mode, **options.pop("changes", {}))
    return complete(questions(*texts), endpoint=endpoint, cache=cache, label="x", **options)


def in_a_batch(call):
    return call.number < 0


def test_the_replies_are_those_of_live_calls_word_for_word(server, batches, tmp_path):
    asked = [*questions(*TEXTS), MODEL.request([("system", "s"), ("user", "five")], sample=2)]
    asked += questions("more", model=replace(MODEL, extra_body={"logprobs": True, "stop": ["x"]}))
    found = {}
    for mode in ("live", "batch"):
        endpoint, cache = in_batches(server, mode=mode), tmp_path / mode
        replies = complete(asked, endpoint=endpoint, cache=cache, label="x")
        with ResponseCache(cache, endpoint.identity) as kept:
            found[mode] = replies, [kept.entry(request.key) for request in asked]
    assert found["batch"] == found["live"]
    assert len(server.calls) == len(asked)

    (batch,) = batches.batches
    assert batch.lines == [
        {"custom_id": q.key, "method": "POST", "url": "/v1/chat/completions", "body": q.body}
        for q in asked
    ]
    assert list(batch.given["metadata"]) == ["mini_lima"]


def test_only_what_is_not_answered_is_submitted_and_nothing_twice(server, batches, cache):
    ask(server, cache, "ab", mode="live")
    first = ask(server, cache, "abcdc")
    again = ask(server, cache, "dcba")
    assert batches.asked == ["c", "d"]
    assert [reply.cached for reply in first] == [True, True, False, False, False]
    assert all(reply.cached for reply in again)
    assert server.asked == ["a", "b"] or server.asked == ["b", "a"]


DEEP = json.loads("[" * 150 + "]" * 150)
HALF_MAY_FAIL = {"most_failed": 0.5}
FAILURES = {
    "a": refusal(400, "context_length_exceeded", "too long"),
    "b": Answer(500, {"error": {"message": "The server had an error"}}),
    "c": Answer(200, {"choices": []}),
    "d": None,
    "f": Answer(200, {"choices": [{"message": {"content": "x"}}], "deep": DEEP}),
    "g": completion("counted wrong", usage={"prompt_tokens": 10**400, "completion_tokens": 1}),
    "h": completion("<think>\nIt may be", finish_reason="length"),
    "i": completion("<think>\nIt is.\n</think>\n\nthought of"),
}
ODD_LINES = b"".join(
    (
        b'\n{"custom_id": "a", "response": {"stat\nnull\n[1]\n\xff\n7\n',
        b"[" * 5000 + b"\n",
        b'{"custom_id": {"a": 1}, "response": [], "error": [1]}\n',
        b'{"custom_id": "\\ud800\\u0000", "response": {"status_code": "200", "body": 1}}\n',
    )
)


def test_odd_lines_and_those_without_an_answer_cost_their_own_request_alone(
    server, batches, cache, caplog
):
    server.reply = lambda call: (
        FAILURES.get(call.last_message, "ok") if in_a_batch(call) else "live"
    )

    def around(call, go):
        found = go()
        if call.route != "GET /files//content":
            return found
        return replace(found, body=ODD_LINES + found.body + ODD_LINES + found.body)

    batches.around = around
    ledger = Ledger()
    texts = "abcdefghi"
    replies = ask(server, cache, texts, ledger=ledger, prices=PRICES, changes=HALF_MAY_FAIL)
    expected = ["live", "live", "", "live", "ok", "live", "counted wrong", "", "thought of"]
    assert [reply.text for reply in replies] == expected
    assert sorted(server.asked) == list("abdf")
    assert batches.asked == list(texts)
    assert ledger.retries == {"batch_error": 2, "batch_missing": 2}
    assert ledger.failed == {"no_completion": 1, "only_thought": 1}
    assert (ledger.sent, ledger.spent.replies) == (13, 9)
    assert ledger.spent.usd == pytest.approx((3 + 2 * 4) * USUAL)
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "4 of 9 requests" in said


def test_what_fails_live_too_is_reported_and_never_put_into_a_batch_again(server, batches, cache):
    bad = refusal(400, "content_filter", "flagged")
    server.reply = lambda call: bad if call.last_message == "b" else "ok"
    with pytest.raises(ConnectionError, match=r"4 of 5 .*flagged"):
        ask(server, cache)
    ledger = Ledger()
    replies = ask(server, cache, changes=HALF_MAY_FAIL, ledger=ledger)
    assert [reply.error for reply in replies] == [None, "content_filter", None, None, None]
    assert ledger.failed == {"content_filter": 1}
    assert batches.asked == list("abcde")
    assert server.asked == ["b", "b"]


def test_what_a_batch_did_not_come_to_is_asked_live(server, batches, cache):
    batches.course, batches.worked_on = course("validating", "in_progress", "expired"), 3
    ledger = Ledger()
    replies = ask(server, cache, ledger=ledger)
    assert [reply.text for reply in replies] == [f"echo: {text}" for text in "abcde"]
    assert sorted(server.asked) == ["d", "e"]
    assert sum(ledger.retries.values()) == 2


def test_a_batch_that_is_refused_ends_the_run_with_the_reasons(server, batches, cache, secret):
    batches.refusals = [CHECKED, {"code": None, "message": None, "line": None}]
    budget = Budget(100)
    with pytest.raises(
        UserError, match=r"5 requests \(line 3: Not JSON says \(hidden\); "
    ) as caught:
        ask(server, cache, changes=secret, budget=budget, prices=PRICES)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert server.calls == []
    assert (budget.spent_usd, budget.lost_usd, budget.in_flight) == (0, 0, False)

    batches.refusals = []
    assert len(ask(server, cache, changes=secret)) == 5
    assert batches.asked == list("abcdeabcde")


def test_an_endpoint_without_a_batch_interface_is_named_and_can_be_asked_live(
    server, batches, cache
):
    for route, status in (("POST /files", 404), ("POST /files", 405), ("POST /batches", 501)):
        batches.around = lambda call, go, route=route, status=status: (
            Answer(status, b"no") if call.route == route else go()
        )
        with pytest.raises(UserError, match=r"this endpoint has no batch interface .*mode=live"):
            ask(server, cache, changes={"max_retries": 5})
    assert len(ask(server, cache, mode="live")) == 5


@pytest.mark.parametrize("route", ["POST /files", "POST /batches", "GET /batches/"])
def test_what_is_no_answer_of_the_interface_is_told_at_once_and_a_batch_that_may_be_there_is_kept(
    server, batches, cache, route
):
    def around(call, go):
        go()
        return Answer(200, b'{"id": 7}')

    batches.around = lambda call, go: around(call, go) if call.route == route else go()
    with pytest.raises(UserError, match='"id":7'):
        ask(server, cache, changes={"max_retries": 5})
    assert batches.count(route) == 1
    batches.around = lambda call, go: go()
    assert len(ask(server, cache)) == 5
    assert (len(batches.batches), server.calls) == (1, [])


def storm(batches):
    """Every kind of fault before every kind of call, and lost answers behind every one."""
    faults = list(FAULTS.values())
    seen = {}

    def around(call, go):
        number = seen[call.route] = seen.get(call.route, -1) + 1
        if number % 2 and number < 2 * len(faults):
            return faults[number // 2]
        answer = go()
        return None if number % 4 == 0 else answer

    return around


def test_faults_of_the_interface_change_nothing(server, batches, cache):
    batches.around = storm(batches)
    batches.course = course(*COMPLETED[:2] * 12, "completed")
    ledger = Ledger()
    replies = ask(server, cache, changes={"max_retries": 14}, ledger=ledger)
    assert [reply.text for reply in replies] == [f"echo: {text}" for text in "abcde"]
    assert len(batches.batches) == 1
    assert server.calls == []
    assert (ledger.sent, ledger.spent.replies) == (5, 5)


def test_a_parameter_that_the_model_refuses_is_left_out_of_another_batch(server, batches, cache):
    def reply(call):
        if "max_tokens" in call.body:
            return refusal(400, "unsupported_parameter", "Use another", param="max_tokens")
        return f"{call.body['max_completion_tokens']}"

    server.reply = reply
    ledger = Ledger()
    replies = ask(server, cache, ledger=ledger)
    assert [reply.text for reply in replies] == ["64"] * 5
    assert server.calls == []
    assert batches.asked == list("abcdeabcde")
    assert ledger.adapted == {"gpt-x": {"max_tokens": "sent as max_completion_tokens"}}
    assert [reply.text for reply in ask(server, cache, "f", ledger=ledger)] == ["64"]
    assert batches.asked[10:] == ["f"]


def test_a_batch_is_paid_for_at_batch_prices(server, batches, cache):
    ledger, budget = Ledger(), Budget(100)
    ask(server, cache, ledger=ledger, prices=PRICES, budget=budget)
    assert budget.spent_usd == pytest.approx(5 * USUAL)
    assert ledger.spent == ledger.value
    assert ledger.spent.usd == pytest.approx(5 * USUAL)
    assert (ledger.requests, ledger.from_cache, ledger.sent) == (5, 0, 5)
    later = Ledger()
    ask(server, cache, ledger=later, prices=PRICES)
    assert (later.value.usd, later.spent.usd) == (pytest.approx(5 * USUAL), 0)


def test_answers_that_report_no_tokens_are_charged_with_their_most(server, batches, cache):
    server.reply = lambda call: completion("ok", usage=None)
    budget = Budget(100)
    ask(server, cache, "a", prices=PRICES, budget=budget)
    assert budget.spent_usd == pytest.approx(PRICES.most(questions("a")[0], batch=True))


def test_a_batch_that_may_pass_the_budget_is_not_submitted(server, batches, cache):
    high = estimate(questions(*"abcde"), PRICES, batch=True).usd_high
    options = {"prices": PRICES, "changes": {"concurrency": 1}}
    with pytest.raises(UserError, match=r"before the batch .*0 of 5 .*other 5 cost") as caught:
        ask(server, cache, budget=Budget(high * 0.99), **options)
    assert f"to ${high:.4f}" in str(caught.value)
    assert batches.calls == []
    budget = Budget(high * 1.01)
    ask(server, cache, budget=budget, **options)
    assert budget.spent_usd == pytest.approx(5 * USUAL)


def test_what_is_asked_live_after_a_batch_keeps_the_budget_too(server, batches, cache):
    server.reply = lambda call: None if in_a_batch(call) else "live"
    live = PRICES.most(questions("a")[0])
    budget = Budget(live * 1.05)
    with pytest.raises(UserError, match=r"before the call .*1 of 2"):
        ask(server, cache, "ab", prices=PRICES, budget=budget, changes={"concurrency": 1})
    assert budget.spent_usd + budget.lost_usd <= budget.limit_usd


@pytest.fixture
def secret(monkeypatch):
    """Changes of an endpoint that give it a key."""
    monkeypatch.setenv("FAKE_KEY", SECRET)
    return {"api_key_env": "FAKE_KEY"}


def test_the_key_is_sent_and_found_nowhere(server, batches, cache, secret, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    bad = refusal(400, "bad", f"key {SECRET} is bad")
    server.reply = lambda call: bad if in_a_batch(call) and call.last_message == "a" else "ok"
    ledger = Ledger()
    ask(server, cache, changes=secret, ledger=ledger)
    assert {call.headers["authorization"] for call in batches.calls} == {f"Bearer {SECRET}"}
    left = b"".join(path.read_bytes() for path in cache.parent.rglob("*") if path.is_file())
    assert left
    assert SECRET.encode() not in left + b"".join(batches.uploads.values())
    assert "(hidden) is bad" in caplog.text
    assert SECRET not in caplog.text + "".join(capfd.readouterr()) + str(ledger)


models = st.sampled_from([ChatModel("m"), ChatModel("n")])


@settings(max_examples=30)
@given(
    asked=st.lists(st.tuples(models, st.text("ab", max_size=9)), max_size=30),
    most_requests=st.integers(1, 5),
    most_bytes=st.integers(1, 30),
)
def test_parts_hold_everything_once_in_order_and_keep_the_limits(asked, most_requests, most_bytes):
    lines = [Line(model.request([("user", text)]), {}) for model, text in asked]

    def size(line):
        return len(line.request.messages[0][1])

    parts = list(in_parts(lines, size, most_requests=most_requests, most_bytes=most_bytes))
    for name in ("m", "n"):
        mine = [line for part in parts for line in part if line.request.model == name]
        assert mine == [line for line in lines if line.request.model == name]
    for part in parts:
        assert len({line.request.model for line in part}) == 1
        assert len(part) <= most_requests
        assert len(part) == 1 or sum(map(size, part)) <= most_bytes


def test_a_batch_of_failures_alone_and_an_output_that_was_cut_off_lose_nothing(
    server, batches, cache
):
    server.reply = lambda call: refusal(500, None) if in_a_batch(call) else "live"
    assert [reply.text for reply in ask(server, cache, "ab")] == ["live"] * 2
    server.reply, before = lambda call: "ok", batches.count("GET /files//content")

    def around(call, go):
        fetched = batches.count("GET /files//content") - before
        return replace(go(), only=300 * fetched) if 0 < fetched < 4 else go()

    batches.around = around
    ledger = Ledger()
    ask(server, cache, "cdefg", changes={"max_retries": 5}, ledger=ledger)
    assert batches.count("GET /files//content") - before == 4
    assert (ledger.spent.replies, sorted(server.asked)) == (5, ["a", "b"])


def test_a_part_is_as_large_as_openai_allows():
    line = Line(MODEL.request([("user", "a")]), {})
    assert [len(part) for part in in_parts([line] * 50_001, lambda line: 1)] == [50_000, 1]
    assert [len(part) for part in in_parts([line] * 5, lambda line: 66_666_666)] == [3, 2]
