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
    unanswered,
)
from mini_lima.chat.batch_table import Line
from mini_lima.chat.batches import MOST_REQUESTS, in_parts
from mini_lima.errors import UserError
from mini_lima.workers.progress import MARKER, WORKER
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.batches import COMPLETED, FakeBatches, course
from tests.chat.server import FAULTS, Answer, FakeOpenAI, completion, refusal

TEXTS = ["one {x}", "Grüße 世界\n", "\u2028 \x00", "", "five"]
PRICES = Prices(input=1000, output=10_000, batch_input=500, batch_output=5000)
USUAL = (7 * 500 + 5 * 5000) / 1e6
"""Dollars for an answer of the server in a batch."""
SECRET = "sk-do-not-tell-77aa01"
CHECKED = {"code": "invalid_json_line", "message": f"Not JSON\nsays {SECRET}", "line": 3}
NO_ROOM = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}


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


def test_a_file_holds_one_model(server, batches, cache):
    other = questions("c", "d", model=ChatModel("gpt-y"))
    asked = [val for pair in zip(questions("a", "b"), other, strict=True) for val in pair]
    replies = complete(asked, endpoint=in_batches(server), cache=cache, label="x")
    assert [reply.text[-1] for reply in replies] == list("acbd")
    assert batches.asked == list("abcd")
    assert len(batches.batches) == 2


DEEP = json.loads("[" * 150 + "]" * 150)
HALF_MAY_FAIL = {"most_failed": 0.5}
FAILURES = {
    "a": refusal(400, "context_length_exceeded", "too long"),
    "b": Answer(500, {"error": {"message": "The server had an error"}}),
    "c": Answer(200, {"choices": []}),
    "d": None,
    "f": Answer(200, {"choices": [{"message": {"content": "x"}}], "deep": DEEP}),
    "g": completion("counted wrong", usage={"prompt_tokens": 10**400, "completion_tokens": 1}),
}


def test_odd_lines_and_those_without_an_answer_cost_their_own_request_alone(
    server, batches, cache, caplog
):
    server.reply = lambda call: (
        FAILURES.get(call.last_message, "ok") if in_a_batch(call) else "live"
    )
    ledger = Ledger()
    replies = ask(server, cache, "abcdefg", ledger=ledger, prices=PRICES, changes=HALF_MAY_FAIL)
    expected = ["live", "live", "", "live", "ok", "live", "counted wrong"]
    assert [reply.text for reply in replies] == expected
    assert sorted(server.asked) == list("abdf")
    assert batches.asked == list("abcdefg")
    assert ledger.retries == {"batch_error": 2, "batch_missing": 2}
    assert ledger.failed == {"no_completion": 1}
    assert (ledger.sent, ledger.spent.replies) == (11, 7)
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "4 of 7 requests" in said


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


def test_a_batch_of_failures_alone_has_no_output_file(server, batches, cache):
    server.reply = lambda call: refusal(500, None) if in_a_batch(call) else "live"
    assert [reply.text for reply in ask(server, cache)] == ["live"] * 5


def test_a_batch_that_is_refused_ends_the_run_with_the_reasons(server, batches, cache, secret):
    batches.refusals = [CHECKED, {"code": None, "message": None, "line": None}]
    budget = Budget(100)
    with pytest.raises(UserError, match=r"5 requests \(line 3: Not JSON says \[key\]; ") as caught:
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


def test_an_interface_that_stays_out_of_reach_ends_the_run_and_the_batch_goes_on(
    server, batches, cache
):
    batches.around = lambda call, go: None if call.route == "GET /batches/" else go()
    with pytest.raises(ConnectionError, match=r"out of reach .*same command again"):
        ask(server, cache, changes={"max_retries": 2})
    batches.around = lambda call, go: go()
    assert len(ask(server, cache)) == 5
    assert len(batches.batches) == 1


def test_an_output_that_was_cut_off_is_fetched_again(server, batches, cache):
    def around(call, go):
        fetched = batches.count("GET /files//content")
        return replace(go(), only=300 * fetched) if 0 < fetched < 4 else go()

    batches.around = around
    ledger = Ledger()
    ask(server, cache, changes={"max_retries": 5}, ledger=ledger)
    assert batches.count("GET /files//content") == 4
    assert (ledger.spent.replies, server.calls) == (5, [])


def test_a_batch_that_may_be_there_is_looked_for_even_after_a_refusal(server, batches, cache):
    def around(call, go):
        if call.route == "POST /batches":
            go()
            return None
        return refusal(401, "bad") if call.route == "GET /batches" else go()

    batches.around = around
    with pytest.raises(UserError, match="refuses every request"):
        ask(server, cache, changes={"max_retries": 5})
    batches.around = lambda call, go: go()
    assert len(ask(server, cache)) == 5
    assert len(batches.batches) == 1


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


def test_a_batch_waits_for_room_beside_others(server, batches, cache):
    asked = [*questions("a"), *questions("b", model=ChatModel("gpt-y", max_tokens=3))]

    def around(call, go):
        if call.route == "GET /batches/":
            is_first = call.path.endswith("_1")
            has_room = any(batch.status == "completed" for batch in batches.batches)
            batches.refusals = [] if is_first or has_room else [NO_ROOM]
        return go()

    batches.around = around
    budget = Budget(100)
    options = {"endpoint": in_batches(server), "cache": cache, "label": "x"}
    replies = complete(asked, budget=budget, prices=PRICES, **options)
    assert [reply.text for reply in replies] == ["echo: a", "echo: b"]
    assert batches.asked == ["a", "b", "b"]
    assert server.calls == []
    assert budget.spent_usd == pytest.approx(2 * USUAL)


def test_a_batch_for_which_there_is_never_room_is_refused(server, batches, cache):
    batches.refusals = [NO_ROOM]
    with pytest.raises(UserError, match="Enqueued token limit reached"):
        ask(server, cache)


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
    assert "[key] is bad" in caplog.text
    assert SECRET not in caplog.text + "".join(capfd.readouterr()) + str(ledger)


def test_the_bar_follows_the_batch_and_ends_full(server, batches, cache, monkeypatch, capsys):
    monkeypatch.setenv(WORKER, "1")
    server.reply = lambda call: None if in_a_batch(call) and call.last_message == "a" else "ok"
    ask(server, cache, "abcdefgh")
    lines = capsys.readouterr().out.splitlines()
    steps = [json.loads(line.removeprefix(MARKER))["steps"] for line in lines]
    assert sum(steps) == 8
    assert 4 in steps


def test_what_stands_in_an_open_batch_would_not_be_sent(server, batches, cache):
    batches.around = lambda call, go: refusal(401, None) if call.method == "GET" else go()
    with pytest.raises(UserError):
        ask(server, cache, "ab")
    left = unanswered(questions(*"abc"), endpoint=in_batches(server), cache=cache)
    assert left == questions("c")


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


def test_a_part_is_as_large_as_openai_allows():
    line = Line(MODEL.request([("user", "a")]), {})
    parts = in_parts([line] * (MOST_REQUESTS + 1), lambda line: 1)
    assert [len(part) for part in parts] == [50_000, 1]
    parts = in_parts([line] * 5, lambda line: 66_666_666)
    assert [len(part) for part in parts] == [3, 2]
