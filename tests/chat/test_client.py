"""`complete` against a real server on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import replace

import pytest
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, completion, refusal, storm

from mini_lima.chat import Endpoint, Ledger, complete, export_cassette, write_ledger
from mini_lima.errors import UserError

SECRET = "sk-do-not-tell-4f81c2"


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("FAKE_KEY", SECRET)
    return SECRET


def test_replies_come_in_the_order_of_the_requests_whatever_answers_first(cache):
    second_is_answered = threading.Event()

    def reply(call):
        if call.last_message == "a":
            second_is_answered.wait(10)
        else:
            second_is_answered.set()
        return call.last_message.upper()

    with FakeOpenAI(reply) as server:
        replies = complete(
            questions("a", "b", "c"), endpoint=endpoint_of(server), cache=cache, label="x"
        )
    assert [reply.text for reply in replies] == ["A", "B", "C"]
    assert [reply.request_key for reply in replies] == [q.key for q in questions("a", "b", "c")]


def test_the_body_on_the_wire_is_the_one_that_the_key_is_made_of(cache, secret):
    request = replace(MODEL, top_p=1.0, seed=3).request([("system", "s"), ("user", "ü {x}\n")])
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        complete([request], endpoint=endpoint, cache=cache, label="x")
    (call,) = server.calls
    assert call.body == request.body
    assert call.path == "/v1/chat/completions"
    assert call.headers["authorization"] == f"Bearer {secret}"


def test_a_reply_says_what_the_endpoint_said(cache):
    with FakeOpenAI(
        lambda call: completion("cut o", model="m-2", finish_reason="length")
    ) as server:
        (reply,) = complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
    assert (reply.text, reply.finish_reason, reply.served_model) == ("cut o", "length", "m-2")
    assert reply.usage == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, 世界 🌍",
        "{name} {0} %s {{",
        "a\nb\r\nc\td",
        "\u2028 \x00 \\n",
        "",
        '{"a": "\\u00e9"}',
    ],
)
def test_text_comes_back_as_it_was_sent(cache, text):
    with FakeOpenAI(lambda call: call.last_message) as server:
        endpoint = endpoint_of(server)
        (fresh,) = complete(questions(text), endpoint=endpoint, cache=cache, label="x")
        (kept,) = complete(questions(text), endpoint=endpoint, cache=cache, label="x")
    assert fresh.text == kept.text == text


def test_what_is_cached_is_not_asked_again_and_takes_no_key(cache, secret, monkeypatch):
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        first = complete(questions("a", "b"), endpoint=endpoint, cache=cache, label="x")
        more = complete(questions("a", "c", "b"), endpoint=endpoint, cache=cache, label="x")
    monkeypatch.delenv("FAKE_KEY")
    offline = complete(questions("a", "b"), endpoint=endpoint, cache=cache, label="x")

    assert sorted(server.asked) == ["a", "b", "c"]
    assert [reply.cached for reply in first] == [False, False]
    assert [reply.cached for reply in more] == [True, False, True]
    assert offline == [replace(reply, cached=True) for reply in first]


def test_another_endpoint_is_asked_for_itself(cache):
    with FakeOpenAI() as server:
        for name in ("one", "other"):
            endpoint = endpoint_of(server, name=name)
            complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == ["a", "a"]


def test_duplicates_are_asked_once_and_samples_each(cache):
    requests = [MODEL.request([("user", "a")], sample=sample) for sample in (0, 1, 0, 0)]
    with FakeOpenAI(lambda call: f"answer {call.number}") as server:
        endpoint = endpoint_of(server, concurrency=1)
        replies = complete(requests, endpoint=endpoint, cache=cache, label="x")
    assert [reply.text for reply in replies] == ["answer 0", "answer 1", "answer 0", "answer 0"]


def test_no_requests_are_no_work(cache):
    assert complete([], endpoint=Endpoint("fake"), cache=cache, label="x") == []


def test_as_many_calls_are_in_flight_as_allowed_over_one_pool(cache):
    together = threading.Barrier(4, timeout=10)

    def reply(call):
        together.wait()
        return "ok"

    with FakeOpenAI(reply) as server:
        texts = [str(number) for number in range(20)]
        complete(questions(*texts), endpoint=endpoint_of(server), cache=cache, label="x")
    assert server.most_in_flight == 4
    assert server.connections == 4


def test_a_storm_is_sat_out(cache):
    soon = {"retry-after-ms": "1"}
    storm = [Answer(429, b"slow down", soon), Answer(500, b"", soon), Answer(503, b"<html>", soon)]

    with FakeOpenAI(lambda call: [*storm, "at last"][call.number]) as server:
        endpoint = endpoint_of(server, max_retries=3)
        (reply,) = complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert reply.text == "at last"


def test_after_a_failure_only_what_is_missing_is_asked(cache):
    def reply(call):
        return refusal(500, "server_error") if call.last_message in "bd" else call.last_message

    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server)
        with pytest.raises(ConnectionError, match=r"3 of 5 .* 2 failed .*run the same command"):
            complete(questions(*"abcde"), endpoint=endpoint, cache=cache, label="x")
        server.calls.clear()
        server.reply = lambda call: call.last_message
        replies = complete(questions(*"abcde"), endpoint=endpoint, cache=cache, label="x")
    assert sorted(server.asked) == ["b", "d"]
    assert [reply.text for reply in replies] == list("abcde")


CHILD = """
import sys
from pathlib import Path
from mini_lima.chat import ChatModel, Endpoint, complete
model = ChatModel("gpt-x", temperature=0.7, max_tokens=64)
complete([model.request([("user", text)]) for text in "abcdef"], label="x",
    endpoint=Endpoint("fake", sys.argv[1], concurrency=1, max_retries=0), cache=Path(sys.argv[2]))
"""


def test_a_killed_process_loses_nothing_that_was_answered(cache):
    children = []
    started = threading.Event()

    def reply(call):
        if call.number == 3:
            started.wait(10)
            os.kill(children[0].pid, signal.SIGKILL)
            return None
        return call.last_message

    with FakeOpenAI(reply) as server:
        children.append(subprocess.Popen([sys.executable, "-c", CHILD, server.base_url, cache]))
        started.set()
        assert children[0].wait() == -signal.SIGKILL
        assert server.asked == list("abcd")
        server.reply = lambda call: call.last_message
        server.calls.clear()
        endpoint = endpoint_of(server, concurrency=1)
        replies = complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == list("def")
    assert [reply.text for reply in replies] == list("abcdef")


@pytest.mark.parametrize(
    "bad",
    [
        Answer(200, b"<html>gateway</html>"),
        Answer(200, b""),
        Answer(200, {"error": {"message": "upstream"}}),
        Answer(200, {"choices": []}),
        refusal(400, "context_length_exceeded"),
        None,
    ],
)
def test_one_bad_answer_is_not_kept_and_the_others_are(cache, bad):
    with FakeOpenAI(lambda call: bad if call.last_message == "b" else "ok") as server:
        endpoint = endpoint_of(server, concurrency=1)
        with pytest.raises(ConnectionError, match="2 of 3"):
            complete(questions(*"abc"), endpoint=endpoint, cache=cache, label="x")
        server.reply = lambda call: "good"
        replies = complete(questions(*"abc"), endpoint=endpoint, cache=cache, label="x")
    assert [reply.text for reply in replies] == ["ok", "good", "ok"]


def test_requests_that_fail_here_and_there_do_not_keep_the_others_from_being_asked(cache):
    def reply(call):
        return call.last_message if call.number % 2 else refusal(400, "content_filter")

    with FakeOpenAI(reply) as server:
        texts = [str(number) for number in range(20)]
        endpoint = endpoint_of(server, concurrency=1)
        with pytest.raises(ConnectionError, match="10 of 20"):
            complete(questions(*texts), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == texts


def test_an_endpoint_that_is_down_is_not_asked_for_everything(cache):
    with FakeOpenAI(lambda call: refusal(503, "overloaded")) as server:
        texts = [str(number) for number in range(100)]
        with pytest.raises(ConnectionError, match=r"0 of 100 .* were not tried"):
            complete(questions(*texts), endpoint=endpoint_of(server), cache=cache, label="x")
    assert len(server.calls) < 10


def test_no_server_at_all_is_one_line(cache):
    with FakeOpenAI() as server:
        gone = endpoint_of(server)
    with pytest.raises(ConnectionError, match=r"'fake': 0 of 1 .*no connection"):
        complete(questions("a"), endpoint=gone, cache=cache, label="x")


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (refusal(401, "invalid_api_key", f"Incorrect API key: {SECRET}"), "check the key"),
        (refusal(403, "forbidden"), "may not use model 'gpt-x'"),
        (refusal(404, "model_not_found"), "knows model 'gpt-x'"),
        (refusal(402, "payment"), "no credit"),
        (refusal(429, "insufficient_quota"), "no credit"),
    ],
)
def test_a_hopeless_refusal_ends_the_run_at_the_first(cache, secret, answer, advice):
    with FakeOpenAI(lambda call: answer if call.number == 2 else "ok") as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY", concurrency=1, max_retries=5)
        with pytest.raises(UserError, match=f"'fake' .*{advice}") as caught:
            complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
        server.reply = lambda call: "later"
        replies = complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
    assert server.asked == list("abccdef")
    assert [reply.text for reply in replies] == ["ok", "ok", *["later"] * 4]
    assert "\n" not in str(caught.value)


def test_the_key_is_found_nowhere(cache, secret, tmp_path, capfd, caplog):
    answers = [
        refusal(401, "invalid_api_key", f"Incorrect API key: {SECRET}"),
        refusal(400, "bad", f"{'x' * 190}{SECRET}"),
        "ok",
    ]
    told = ""
    caplog.set_level("DEBUG")
    with FakeOpenAI(lambda call: answers[call.number]) as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        for _ in range(2):
            with pytest.raises((UserError, ConnectionError)) as caught:
                complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
            told += "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        replies = complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    told += repr(endpoint) + repr(replies) + "".join(capfd.readouterr()) + caplog.text
    assert SECRET not in told
    assert SECRET[:10] not in told
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


def test_the_key_is_not_in_what_a_stormy_run_leaves_behind(cache, secret, tmp_path, caplog):
    caplog.set_level("DEBUG")

    def reply(call):
        if call.last_message == "never":
            return refusal(400, "content_filter", f"flagged for {SECRET}")
        return storm_of_leaks(call)

    leaks = [refusal(500, "x", SECRET), Answer(200, SECRET.encode()), refusal(429, "x", SECRET)]
    storm_of_leaks = storm(lambda call: "ok", share=1.0, at_most=3, faults=leaks)
    ledger = Ledger()
    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY", max_retries=9)
        options = {"endpoint": endpoint, "cache": cache, "ledger": ledger, "label": "x"}
        replies = complete(questions("a", "b", "never"), failures="return", **options)
    write_ledger(tmp_path / "ledger.json", ledger)
    keys = [found.request_key for found in replies[:2]]
    export_cassette(cache, keys, endpoint=endpoint, path=tmp_path / "c.jsonl")
    assert SECRET not in repr(replies) + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("value", ["", "  \n", "two words", "schlüssel", "line\nbreak"])
def test_a_missing_or_impossible_key_is_told_by_the_name_of_its_variable(cache, monkeypatch, value):
    monkeypatch.setenv("FAKE_KEY", value)
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        with pytest.raises(UserError, match="FAKE_KEY") as caught:
            complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert not value.strip() or value not in str(caught.value)
    assert server.calls == []


def test_a_key_with_a_newline_at_its_end_is_used_without_it(cache, monkeypatch):
    monkeypatch.setenv("FAKE_KEY", f"{SECRET}\n")
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="FAKE_KEY")
        complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"


def test_an_endpoint_without_a_key_is_not_sent_the_one_of_another(cache, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with FakeOpenAI() as server:
        complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
    assert SECRET not in json.dumps(dict(server.calls[0].headers))


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "127.0.0.1:8000"},
        {"base_url": "file:///v1"},
        {"concurrency": 0},
        {"timeout": 0},
        {"total_timeout": 0},
        {"backoff": -1},
        {"requests_per_minute": 0},
        {"tokens_per_minute": float("nan")},
    ],
)
def test_an_endpoint_that_cannot_work_is_refused(changes):
    with pytest.raises(UserError, match="endpoint 'fake'"):
        Endpoint("fake", **changes)


def test_importing_the_package_loads_no_client():
    code = (
        "import sys, mini_lima.chat; "
        "print({'asyncio', 'openai', 'httpx2', 'pydantic', 'rich'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
