"""Storms, odd replies, requests that fail on their own or with all others, refused parameters."""

import json
import threading

import pytest

from mini_lima.chat import (
    Chat,
    ChatModel,
    Ledger,
    complete,
    export_cassette,
    read_entries,
    warnings,
)
from mini_lima.errors import UserError
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, completion, refusal, storm

FILTERED = refusal(400, "content_filter", "flagged")
TOO_LARGE = refusal(400, None, "too large: 20480.")


def ask(server, cache, texts, *, changes=None, model=MODEL, **options):
    endpoint = endpoint_of(server, **(changes or {}))
    asked = questions(*texts, model=model)
    return complete(asked, endpoint=endpoint, cache=cache, label="x", **options)


def test_replies_after_a_storm_of_everything_are_those_of_a_calm_day(tmp_path, caplog):
    caplog.set_level("INFO", "mini_lima")
    texts = [f"question {number}" for number in range(40)]
    found, ledger = [], Ledger()
    for name, reply in (("calm", str.upper), ("storm", str.upper)):
        answers = lambda call, reply=reply: reply(call.last_message)  # noqa: E731
        with FakeOpenAI(storm(answers) if name == "storm" else answers) as server:
            changes = {"max_retries": 14, "concurrency": 8}
            found.append(ask(server, tmp_path / name, texts, changes=changes, ledger=ledger))
    assert found[0] == found[1]
    assert ledger.sent == len(texts) + len(server.calls)
    assert sum(ledger.retries.values()) == len(server.calls) - len(texts)
    kinds = {"rate_limit", "server_error", "connection_lost", "no_completion"}
    assert ledger.retries.keys() == kinds
    assert ledger.failed == {}
    told = [record for record in caplog.records if "trying again" in record.getMessage()]
    assert len(told) <= len(kinds), "each kind is said once"


NESTED = b'{"choices": [{"message": {"content": "x"}}], "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}"
MANY = {"prompt_tokens": 10**400, "completion_tokens": 5}
UNREADABLE = {
    "a page": Answer(200, b"<html>gateway</html>"),
    "nothing": Answer(200, b""),
    "a list": Answer(200, [{"choices": [{"message": {"content": "x"}}]}]),
    "half": Answer(200, b'{"choices": [{"message": {"con'),
    "refused inside": Answer(200, {"error": {"message": "no system role", "code": 400}}),
    "a large number": Answer(200, b'{"choices": [{"message": {"content": ' + b"1" * 5000 + b"}}]}"),
    "no choices": Answer(200, {"object": "chat.completion", "choices": []}),
    "no text": Answer(200, {"choices": [{"message": {"content": {"a": 1}}}]}),
    "a stream": Answer(200, b'data: {"choices": []}\n\ndata: [DONE]\n\n'),
    "nested": Answer(200, NESTED),
    "not packed": Answer(200, b"{}", {"Content-Encoding": "gzip"}),
}


TEXT = {"role": "assistant", "content": "ok"}
CHOICE = {"index": 0, "message": TEXT, "finish_reason": "stop"}
UNUSUAL = {
    "many tokens": completion("ok", usage=MANY),
    "negative tokens": completion("ok", usage={"prompt_tokens": -1, "completion_tokens": 5}),
    "tokens in words": completion("ok", usage={"prompt_tokens": "7", "completion_tokens": None}),
    "a list of tokens": Answer(200, {"choices": [CHOICE], "usage": [7, 5]}),
    "no numbers": Answer(200, b'{"choices": [{"message": {"content": "ok"}}], "created": NaN}'),
    "other types": Answer(
        200, {"choices": [{**CHOICE, "finish_reason": {}, "logprobs": 1}], "model": 1}
    ),
    "half a character": completion("ok\ud83d\0", usage=None),
    "no UTF-8": Answer(200, b'{"choices": [{"message": {"content": "ok \xff"}}]}'),
}
REFUSED = {
    "a list refused": Answer(400, [{"error": {"message": "no"}}]),
    "nested refused": Answer(400, b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}"),
    "a code that is none": Answer(400, {"error": {"message": ["no"], "code": {}, "param": []}}),
}


def test_one_odd_reply_costs_that_request_alone_and_is_not_asked_for_again(cache, tmp_path):
    ledger = Ledger()
    odd = {**UNREADABLE, **REFUSED, **UNUSUAL}
    texts = [*odd, *map(str, range(8))]
    failed = len(UNREADABLE) + len(REFUSED)
    with FakeOpenAI(lambda call: odd.get(call.last_message, "ok")) as server:
        changes = {"max_retries": 5, "concurrency": 40, "most_failed": 1}
        with Chat(MODEL, endpoint_of(server, **changes), cache).session(tmp_path) as session:
            replies = session.ask([[("user", text)] for text in texts], label="x")
            ledger = session.ledger
        assert len(server.calls) == len(texts)
        assert [reply.error is None for reply in replies] == [False] * failed + [True] * (
            len(texts) - failed
        )
        assert {reply.text[:2] for reply in replies[failed:]} == {"ok"}
        assert ledger.failed == {"no_completion": len(UNREADABLE), "bad_request": len(REFUSED)}
        assert ledger.usage_missing == len(UNUSUAL)
        assert all(reply.detail for reply in replies[:failed])
        assert b"<html>gateway" in cache.read_bytes(), "what came is kept"
        server.reply = lambda call: "ok"
        ask(server, cache, texts)
        assert sorted(server.asked[len(texts) :]) == sorted({**UNREADABLE, **REFUSED})
    assert export_cassette([tmp_path], cache, tmp_path / "c.jsonl") == len(texts) - failed
    assert len(read_entries(tmp_path / "c.jsonl")) == len(texts) - failed


def test_an_impossible_date_to_retry_at_is_no_advice(cache):
    never = refusal(503, None, retry_after="Wed, 21 Oct 99999999999999999999 07:28:30 GMT")
    with FakeOpenAI(lambda call: never if call.number == 0 else "ok") as server:
        assert len(ask(server, cache, "ab", changes={"max_retries": 1})) == 2


def test_a_redirect_is_not_followed(cache):
    with FakeOpenAI() as other:
        away = Answer(307, b"", {"Location": f"{other.base_url}/chat/completions"})
        with (
            FakeOpenAI(lambda call: away) as server,
            pytest.raises(UserError, match="no redirect is followed"),
        ):
            ask(server, cache, "a", changes={"max_retries": 5})
    assert (len(server.calls), other.calls) == (1, [])


def test_an_answer_that_comes_in_drops_counts_as_late_and_is_asked_again(cache):
    ledger = Ledger()

    def reply(call):
        return completion("slow", drop_by_drop=0.05) if call.number == 0 else "quick"

    with FakeOpenAI(reply) as server:
        changes = {"timeout": 0.5, "max_retries": 50}
        (found,) = ask(server, cache, "a", changes=changes, ledger=ledger)
    assert found.text == "quick"
    assert ledger.retries.keys() == {"timeout"}
    assert ledger.lost >= 1


def test_a_server_that_never_answers_is_given_up_after_the_total_time(cache):
    over = threading.Event()
    with FakeOpenAI(lambda call: over.wait() and None) as server:
        changes = {"timeout": 0.1, "total_timeout": 0.3, "max_retries": 1000}
        with pytest.raises(ConnectionError, match=r"no answer within 0\.1 s"):
            ask(server, cache, "a", changes=changes)
        over.set()
    assert len(server.calls) <= 4


def test_the_pause_that_an_endpoint_asks_for_is_kept_unless_no_one_waits_so_long(cache):
    wait = refusal(429, "rate_limit_exceeded", retry_after_ms="250")
    with FakeOpenAI(lambda call: wait if call.number == 0 else "ok") as server:
        ask(server, cache, "a", changes={"max_retries": 1})
    first, second = server.calls
    assert second.at - first.at >= 0.25
    wait = refusal(429, "tokens", "Try in a day", retry_after="86400")
    with (
        FakeOpenAI(lambda call: wait) as server,
        pytest.raises(ConnectionError, match="Try in a day"),
    ):
        ask(server, cache, "b", changes={"max_retries": 14})
    assert len(server.calls) == 1


def test_an_address_where_no_server_is_met_is_not_waited_for_long(cache):
    ledger = Ledger()
    with FakeOpenAI() as server:
        pass
    with pytest.raises(ConnectionError, match=r"'fake': 0 of 1 .*no connection"):
        ask(server, cache, "a", changes={"max_retries": 1000}, ledger=ledger)
    assert (ledger.sent, ledger.lost) == (4, 0)


def test_a_request_that_fails_on_its_own_gets_a_reply_that_says_why(cache):
    gateway, inside = Answer(200, b"<html>gateway</html>"), completion("", finish_reason="error")
    for text, bad, code in (
        ("b", FILTERED, "content_filter"),
        ("c", gateway, "no_completion"),
        ("d", inside, "no_completion"),
    ):
        ledger = Ledger()
        reply = lambda call, text=text, bad=bad: bad if call.last_message == text else "ok"  # noqa: E731
        with FakeOpenAI(reply) as server:
            asked = ["a", text, "e", text]
            replies = ask(
                server, cache, asked, changes={"max_retries": 2, "most_failed": 0.4}, ledger=ledger
            )
            assert [reply.error for reply in replies] == [None, code, None, code]
            assert replies[1].request_key == questions(text)[0].key
            assert (ledger.failed, ledger.value.replies) == ({code: 1}, 2)
            with pytest.raises(ConnectionError, match=r"2 of 3 .* 1 failed.*same command"):
                ask(server, cache, asked)
            server.reply = lambda call: "now it can be had"
            assert ask(server, cache, text)[0].text == "now it can be had"


@pytest.mark.parametrize("bad", [TOO_LARGE, refusal(503, "overloaded"), None])
def test_an_endpoint_that_is_down_is_not_asked_for_everything(cache, bad):
    texts = [str(number) for number in range(100)]
    with (
        FakeOpenAI(lambda call: bad) as server,
        pytest.raises(ConnectionError, match=r"0 of 100 .* were not tried"),
    ):
        ask(server, cache, texts, changes={"most_failed": 1})
    assert len(server.calls) < 10


def test_refused_requests_in_a_row_are_no_endpoint_that_is_down(cache):
    refused = [str(number) for number in range(10)]
    with FakeOpenAI(lambda call: TOO_LARGE if call.last_message in refused else "ok") as server:
        options = {"changes": {"concurrency": 1, "most_failed": 0.5}}
        replies = ask(server, cache, ["a", *refused, *"bcdefghijk"], **options)
        assert [reply.error for reply in replies].count(None) == 11
        again = ask(server, cache, [*refused, "a", "l", *"bcdefghijk"], **options)
    assert [reply.error for reply in again].count(None) == 12


@pytest.mark.parametrize("bad", [refusal(500, "server_error"), None])
def test_a_request_that_brings_down_its_server_fails_on_its_own_if_others_do_not(cache, bad):
    with FakeOpenAI(lambda call: bad if call.last_message == "poison" else "ok") as server:
        changes = {"max_retries": 3, "concurrency": 2, "backoff": 0.02, "most_failed": 0.1}
        texts = ["poison", *map(str, range(12))]
        replies = ask(server, cache, texts, changes=changes)
    assert replies[0].error == ("server_error" if bad else "connection_lost")
    assert {reply.text for reply in replies[1:]} == {"ok"}


def test_calls_in_flight_when_the_run_ends_are_kept_because_they_are_paid_for(cache):
    refused = threading.Event()

    def reply(call):
        if call.last_message == "b":
            refused.set()
            return refusal(429, "insufficient_quota")
        refused.wait()
        return completion("dear", drop_by_drop=0.001)

    with FakeOpenAI(reply) as server:
        with pytest.raises(UserError, match="no credit"):
            ask(server, cache, "abcd", changes={"concurrency": 2})
        assert sorted(server.asked) == ["a", "b"]
        (kept,) = ask(server, cache, "a")
    assert (kept.text, kept.cached) == ("dear", True)


def as_gpt_5(call):
    """Refuse what OpenAI's newer models refuse, one parameter at a time."""
    for name in ("max_tokens", "temperature"):
        if name in call.body and call.body["model"] == "gpt-x":
            return refusal(400, "unsupported_parameter", f"no {name}", param=name)
    return f"ok, {call.last_message}"


def test_a_model_is_asked_once_per_parameter_that_it_refuses_and_then_as_it_likes(
    cache, caplog, tmp_path
):
    texts = [str(number) for number in range(10)]
    with FakeOpenAI(as_gpt_5) as server:
        chat = Chat(MODEL, endpoint_of(server, concurrency=1), cache)
        with chat.session(tmp_path) as session:
            replies = session.ask([[("user", text)] for text in texts], label="x")
            session.ask([[("user", "more")]], label="x")
        other = ChatModel("other", temperature=0.7, max_tokens=64)
        ask(server, cache, ["not touched"], model=other)
    assert [reply.text for reply in replies] == [f"ok, {text}" for text in texts]
    assert [reply.request_key for reply in replies] == [q.key for q in questions(*texts)]
    assert len(server.calls) == 2 + len(texts) + 2
    assert server.calls[-2].body == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "more"}],
        "max_completion_tokens": 64,
    }
    assert server.calls[-1].body["max_tokens"] == 64
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["retries"] == {}
    changes = {"max_tokens": "sent as max_completion_tokens", "temperature": "left out"}
    assert ledger["adapted"] == {"gpt-x": changes}
    assert len([each for each in caplog.records if "which is" in each.getMessage()]) == 2
    later = Ledger()
    ask(server, cache, texts[:1], ledger=later)
    assert later.adapted == {"gpt-x": changes}, "known when the answers come from the cache, too"
    assert "temperature" in "\n".join(warnings(later))


def test_a_length_limit_is_never_dropped(cache):
    def reply(call):
        (limit,) = {"max_tokens", "max_completion_tokens"} & call.body.keys()
        return refusal(400, None, f"Unrecognized request argument supplied: {limit}")

    with FakeOpenAI(reply) as server, pytest.raises(ConnectionError, match="Unrecognized"):
        ask(server, cache, "a")
    assert len(server.calls) == 2
    both = ChatModel("gpt-x", max_tokens=64, max_completion_tokens=128)
    with FakeOpenAI(as_gpt_5) as server:
        ask(server, cache, "a", model=both)
    assert server.calls[-1].body["max_completion_tokens"] == 128
