"""`complete` against a real server on loopback: what is asked, what is kept, what is never told."""

import json
import os
import signal
import threading
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from mini_lima.chat import Chat, Endpoint, complete, export_cassette
from mini_lima.errors import UserError
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, completion, refusal, storm
from tests.processes import preloaded

PROCESSES = preloaded("mini_lima.chat.live")
SECRET = "sk-do-not-tell-4f81c2"


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("FAKE_KEY", SECRET)
    return SECRET


def test_replies_come_in_the_order_of_the_requests_whatever_answers_first(cache):
    second_is_answered = threading.Event()

    def reply(call):
        if call.last_message == "a":
            second_is_answered.wait()
        else:
            second_is_answered.set()
        return completion(call.last_message.upper(), model="m-2", finish_reason="length")

    with FakeOpenAI(reply) as server:
        asked = questions(*"abc")
        replies = complete(asked, endpoint=endpoint_of(server), cache=cache, label="x")
    assert [reply.text for reply in replies] == list("ABC")
    assert [reply.request_key for reply in replies] == [request.key for request in asked]
    assert (replies[0].finish_reason, replies[0].served_model) == ("length", "m-2")
    assert replies[0].usage == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def test_the_body_on_the_wire_is_the_one_that_the_key_is_made_of(cache, monkeypatch):
    monkeypatch.setenv("FAKE_KEY", f"{SECRET}\n")  # as it comes out of a file
    request = replace(MODEL, top_p=1.0, seed=3).request([("system", "s"), ("user", "ü {x}\n")])
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        complete([request], endpoint=endpoint, cache=cache, label="x")
    (call,) = server.calls
    assert call.body == request.body
    assert call.path == "/v1/chat/completions"
    assert call.headers["authorization"] == f"Bearer {SECRET}"


def test_what_is_cached_is_not_asked_again_and_takes_no_key(cache, secret, monkeypatch):
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        first = complete(questions("a", "b"), endpoint=endpoint, cache=cache, label="x")
        more = complete(questions("a", "c", "b"), endpoint=endpoint, cache=cache, label="x")
        monkeypatch.delenv("FAKE_KEY")
        offline = complete(questions("a", "b"), endpoint=endpoint, cache=cache, label="x")
        assert sorted(server.asked) == ["a", "b", "c"]
        other = endpoint_of(server, name="other")
        complete(questions("a"), endpoint=other, cache=cache, label="x")
    assert server.asked[3:] == ["a"], "another endpoint is asked for itself"
    assert [reply.cached for reply in first] == [False, False]
    assert [reply.cached for reply in more] == [True, False, True]
    assert offline == [replace(reply, cached=True) for reply in first]
    assert complete([], endpoint=Endpoint("fake"), cache=cache, label="x") == []


def test_duplicates_are_asked_once_and_samples_each(cache):
    requests = [MODEL.request([("user", "a")], sample=sample) for sample in (0, 1, 0, 0)]
    with FakeOpenAI(lambda call: f"answer {call.number}") as server:
        endpoint = endpoint_of(server, concurrency=1)
        replies = complete(requests, endpoint=endpoint, cache=cache, label="x")
    assert [reply.text for reply in replies] == ["answer 0", "answer 1", "answer 0", "answer 0"]


def test_as_many_calls_are_in_flight_as_allowed_over_one_pool(cache):
    together = threading.Barrier(4)

    def reply(call):
        together.wait()
        return "ok"

    with FakeOpenAI(reply) as server:
        texts = [str(number) for number in range(20)]
        complete(questions(*texts), endpoint=endpoint_of(server), cache=cache, label="x")
    assert server.most_in_flight == 4
    assert server.connections == 4


def test_after_failures_only_what_is_missing_is_asked(cache):
    bad = {
        "b": Answer(200, b"<html>gateway</html>"),
        "d": refusal(400, "context_length_exceeded"),
        "f": None,
    }
    with FakeOpenAI(lambda call: bad.get(call.last_message, "ok")) as server:
        endpoint = endpoint_of(server, concurrency=1, most_failed=0.5)
        with pytest.raises(ConnectionError, match=r"4 of 7 .* 3 failed .*run the same command"):
            complete(questions(*"abcdefg"), endpoint=endpoint, cache=cache, label="x")
        server.calls.clear()
        server.reply = lambda call: "good"
        replies = complete(questions(*"abcdefg"), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == list("bdf")
    assert [reply.text for reply in replies] == ["ok", "good"] * 3 + ["ok"]


def ask_all(address: str, cache: Path) -> None:
    endpoint = Endpoint("fake", address, concurrency=1, max_retries=0)
    complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")


def test_a_killed_process_loses_nothing_that_was_answered(cache):
    started = threading.Event()

    def reply(call):
        if call.number == 3:
            started.wait()
            os.kill(child.pid, signal.SIGKILL)
            return None
        return call.last_message

    with FakeOpenAI(reply) as server:
        child = PROCESSES.Process(target=ask_all, args=(server.base_url, cache))
        child.start()
        started.set()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        server.calls.clear()
        server.reply = lambda call: call.last_message
        endpoint = endpoint_of(server, concurrency=1)
        replies = complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == list("def")
    assert [reply.text for reply in replies] == list("abcdef")


def test_a_hopeless_refusal_ends_the_run_at_the_first_and_costs_no_answer(cache, secret):
    bad = refusal(401, "invalid_api_key", f"Incorrect API key: {SECRET}")
    with FakeOpenAI(lambda call: bad if call.number == 2 else "ok") as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY", concurrency=1, max_retries=5)
        with pytest.raises(UserError, match=r"'fake' .*check the key") as caught:
            complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
        server.reply = lambda call: "later"
        replies = complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == list("abccdef")
    assert [reply.text for reply in replies] == ["ok", "ok", *["later"] * 4]
    assert "\n" not in str(caught.value)


def test_the_key_is_found_nowhere(cache, secret, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    ends = {
        "wrong": refusal(401, "invalid_api_key", f"Incorrect API key: {SECRET}"),
        "long": refusal(400, "bad", f"{'x' * 190}{SECRET}"),
        "never": refusal(400, "content_filter", f"flagged for {SECRET}"),
        "odd": Answer(200, SECRET.encode()),
    }
    leaks = [refusal(500, "x", SECRET), Answer(200, {"error": SECRET}), refusal(429, "x", SECRET)]
    stormy = storm(lambda call: "ok", share=1.0, at_most=3, faults=leaks)
    told = ""
    with FakeOpenAI(lambda call: ends.get(call.last_message) or stormy(call)) as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY", max_retries=9, most_failed=0.5)
        for text in ("wrong", "long"):
            with pytest.raises((UserError, ConnectionError)) as caught:
                complete(questions(text), endpoint=endpoint, cache=cache, label="x")
            told += "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        with Chat(MODEL, endpoint, cache).session(tmp_path) as session:
            replies = session.ask(
                [[("user", text)] for text in ("a", "never", "odd", "b")], label="x"
            )
    export_cassette([tmp_path], cache, tmp_path / "c.jsonl")
    told += repr(endpoint) + repr(replies) + "".join(capfd.readouterr()) + caplog.text
    assert SECRET[:10] not in told
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


def test_a_missing_or_impossible_key_is_told_by_the_name_of_its_variable(cache, monkeypatch):
    for value in ("", "  \n", "two words", "schlüssel", "line\nbreak"):
        monkeypatch.setenv("FAKE_KEY", value)
        endpoint = Endpoint("fake", "http://127.0.0.1:9/v1", api_key_env="FAKE_KEY")
        with pytest.raises(UserError, match="FAKE_KEY") as caught:
            complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
        assert not value.strip() or value not in str(caught.value)


def test_an_endpoint_without_a_key_is_not_sent_the_one_of_another(cache, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with FakeOpenAI() as server:
        complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
    assert SECRET not in json.dumps(dict(server.calls[0].headers))
