"""The recorded tier: the same `complete`, a cassette instead of a network."""

import socket
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.chat.server import FakeOpenAI

from mini_lima.chat import (
    CassetteEntry,
    ChatModel,
    Endpoint,
    ResponseCache,
    complete,
    completion_body,
    write_cassette,
)
from mini_lima.errors import UserError

MODEL = ChatModel("recorded", temperature=1.0)


def record(path, answers):
    requests = [MODEL.request([("user", question)]) for question in answers]
    bodies = [completion_body(text, model="writer") for text in answers.values()]
    entries = [CassetteEntry(q, body) for q, body in zip(requests, bodies, strict=True)]
    write_cassette(path, entries)
    return requests


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the recorded tier went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.usefixtures("no_network")
def test_a_cassette_answers_without_network_or_key(tmp_path):
    answers = {
        "one {x}": "Grüße 世界\n\n```json\n{}\n```",
        "two": "",
        "three": "\u2028 {name} \x00",
    }
    requests = record(tmp_path / "c.jsonl", answers)
    endpoint = Endpoint("recorded", api_key_env="NO_SUCH_KEY", cassette=tmp_path / "c.jsonl")
    replies = complete(requests, endpoint=endpoint, cache=tmp_path / "cache", label="x")
    assert [reply.text for reply in replies] == list(answers.values())
    assert {(r.served_model, r.usage, r.cached) for r in replies} == {("writer", None, False)}


@settings(max_examples=20, deadline=None)
@given(answers=st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_any_text_is_replayed_as_recorded(tmp_path_factory, answers):
    folder = tmp_path_factory.mktemp("replay")
    requests = record(folder / "c.jsonl", answers)
    endpoint = Endpoint("recorded", cassette=folder / "c.jsonl")
    replies = complete(requests, endpoint=endpoint, cache=folder / "cache", label="x")
    assert [reply.text for reply in replies] == list(answers.values())


def test_what_is_not_recorded_is_counted_and_named(tmp_path):
    (known,) = record(tmp_path / "c.jsonl", {"known": "yes"})
    unknown = [MODEL.request([("user", f"unknown\nnumber {n} " + "y" * 90)]) for n in range(3)]
    endpoint = Endpoint("recorded", cassette=tmp_path / "c.jsonl")
    with pytest.raises(UserError) as caught:
        complete([known, *unknown], endpoint=endpoint, cache=tmp_path / "cache", label="x")
    told = str(caught.value)
    assert "3 of 4 requests" in told
    assert str(tmp_path / "c.jsonl") in told
    assert unknown[0].key in told
    assert "unknown number 0 yyy" in told
    assert "y" * 80 not in told


def test_a_new_recording_is_not_hidden_by_the_cache_of_the_old(tmp_path):
    texts = []
    for text in ("old", "new"):
        requests = record(tmp_path / "c.jsonl", {"question": text})
        endpoint = Endpoint("recorded", cassette=tmp_path / "c.jsonl")
        replies = complete(requests, endpoint=endpoint, cache=tmp_path / "cache", label="x")
        texts.append(replies[0].text)
    assert texts == ["old", "new"]


def test_a_cassette_that_is_not_there_is_named(tmp_path):
    endpoint = Endpoint("recorded", cassette=tmp_path / "none.jsonl")
    request = MODEL.request([("user", "x")])
    with pytest.raises(UserError, match=r"none\.jsonl cannot be read"):
        complete([request], endpoint=endpoint, cache=tmp_path / "cache", label="x")


@pytest.mark.usefixtures("no_network")
def test_in_replay_mode_nothing_is_sent_and_what_is_missing_is_named(tmp_path):
    cache = tmp_path / "cache"
    with FakeOpenAI() as server:
        live = Endpoint("fake", server.base_url, api_key_env="NO_SUCH_KEY")
        asked = [MODEL.request([("user", text)]) for text in ("one", "two")]
    record_in(cache, asked[:1])
    replayed = replace(live, mode="replay")
    (reply,) = complete(asked[:1], endpoint=replayed, cache=cache, label="x")
    assert (reply.text, reply.cached) == ("kept", True)
    with pytest.raises(UserError, match=r"1 of 2 requests .*'two'.*import the cassette"):
        complete(asked, endpoint=replayed, cache=cache, label="x")


def record_in(cache, requests):
    with ResponseCache(cache, "fake") as kept:
        for request in requests:
            kept.put(request, completion_body("kept", model="writer"))
