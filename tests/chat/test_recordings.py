"""Recordings: what is written is read, nothing else passes for it, and it makes the same run."""

import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima import pipeline
from mini_lima.chat import (
    CassetteEntry,
    ChatModel,
    Endpoint,
    complete,
    completion_body,
    export_cassette,
    import_cassette,
    read_cassette,
    write_cassette,
)
from mini_lima.chat.recordings import sha256_of, unanswered
from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.store.stages import Store, walk
from tests.chat.server import FakeOpenAI
from tests.composing import configured
from tests.data.teachers import Teacher

MODEL = ChatModel("recorded", temperature=1.0)
(HELLO,) = [MODEL.request([("user", "hello")], sample=2)]
TEXTS = {"one {x}": "Grüße 世界\n\n```json\n{}\n```", "two": "", "three": "\u2028 {name} \x00"}


def record(path, answers):
    requests = [MODEL.request([("user", question)]) for question in answers]
    bodies = [completion_body(text, model="writer") for text in answers.values()]
    entries = [CassetteEntry(*pair) for pair in zip(requests, bodies, strict=True)]
    write_cassette(path, [*reversed(entries), *entries[:1]])
    return requests


def replay(requests, cassette, cache):
    endpoint = Endpoint("recorded", api_key_env="NO_SUCH_KEY", cassette=cassette)
    return complete(requests, endpoint=endpoint, cache=cache, label="x")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_a_recording_answers_without_network_or_key_and_what_it_lacks_is_named(tmp_path):
    known = record(tmp_path / "c.jsonl", TEXTS)
    replies = replay(known, tmp_path / "c.jsonl", tmp_path / "cache")
    assert {(r.served_model, r.usage, r.cached) for r in replies} == {("writer", None, False)}
    unknown = [MODEL.request([("user", f"unknown\nnumber {n} " + "y" * 90)]) for n in range(3)]
    with pytest.raises(UserError) as caught:
        replay([*known, *unknown], tmp_path / "c.jsonl", tmp_path / "cache")
    for part in ("3 of 6", str(tmp_path / "c.jsonl"), unknown[0].key, "unknown number 0 yyy"):
        assert part in str(caught.value)
    assert "y" * 80 not in str(caught.value)
    record(tmp_path / "c.jsonl", dict.fromkeys(TEXTS, "new"))
    replies = replay(known, tmp_path / "c.jsonl", tmp_path / "cache")
    assert {reply.text for reply in replies} == {"new"}, "the cache of the old one does not hide it"


def line(**changes):
    response = {"status_code": 200, "body": completion_body("hi", model="m")}
    row = {"custom_id": HELLO.key, "body": HELLO.body, "sample": 2, "response": response}
    return json.dumps(row | {"error": None} | changes)


def test_a_bad_line_is_named_by_file_line_and_field(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "c.jsonl"
    path.write_text(line(smaple=1))
    assert len(read_cassette(path)) == 1
    assert "smaple (1)" in caplog.messages[-1]
    for bad, complaint in (
        ("{", "not JSON"),
        ("[]", "no custom_id and body"),
        ("[" * 10_000, "not JSON|nested"),
        (line(body="hello"), "custom_id and body"),
        (line(sample="0"), "sample"),
        (line(sample=1), "custom_id .* changed after it was recorded"),
        (line(response=None), "response: a failed call"),
        (line(response={"status_code": 500, "body": {}}), "failed call"),
        (line(error={"code": "x"}), "failed call"),
        (line(sha256=sha256_of("another")), "the answer was changed after it was recorded"),
        (line(response={"status_code": 200, "body": {}}), r"response\.body is no chat completion"),
    ):
        path.write_text(f"\n{bad}\n")
        with pytest.raises(UserError, match=rf"c\.jsonl:2: .*{complaint}"):
            read_cassette(path)
    path.write_text(f"{line()}\n\n{line()}\n")
    with pytest.raises(UserError, match=r"c\.jsonl:3: .* line 1"):
        read_cassette(path)
    with pytest.raises(UserError, match=r"none\.jsonl cannot be read"):
        replay([HELLO], tmp_path / "none.jsonl", tmp_path / "cache")


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=1))
def test_no_file_makes_the_reader_raise_anything_but_its_own_error(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("cassette") / "c.jsonl"
    path.write_bytes(b"x" + contents)
    with pytest.raises(UserError, match=r"c\.jsonl:\d+: "):
        read_cassette(path)


def data_sets(store, server_url):
    """The naive and the improved stage of a run with a live teacher."""
    config = configured(
        *("experiment=embedded", "teacher=local", "teacher.model=fake", f"store={store}"),
        *(f"teacher.base_url={server_url}", "tracking=disabled"),
        "data.steps.self_instruct.filters.near_duplicate=false",
        "data.least_used=0",
    )
    return [each for each in walk(pipeline.build_cell(config, {}).last) if each.name == "data"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folders of the two data sets, and their response cache."""
    root = tmp_path_factory.mktemp("here") / "store"
    with FakeOpenAI(Teacher()) as server:
        store = Store(root)
        folders = [store.build(stage) for stage in data_sets(root, server.base_url)]
    return folders, root / "responses.sqlite"


def test_a_run_is_replayed_elsewhere_byte_for_byte_under_the_same_fingerprints(ran, tmp_path):
    folders, cache = ran
    cassette, elsewhere = tmp_path / "run.jsonl", tmp_path / "store"
    arguments = ["export", *map(str, folders), "--cache", str(cache)]
    assert main([*arguments, "--to", str(cassette)]) == 0
    assert main(["import", str(cassette), "--cache", str(elsewhere / "responses.sqlite")]) == 0
    for stage, before in zip(data_sets(elsewhere, "http://127.0.0.1:9/v1"), folders, strict=True):
        made = Store(elsewhere).build(stage)
        assert made.name == before.name, "the fingerprint is part of the name"
        files = {path.name for path in made.iterdir()} - {"ledger.json", "stage.json"}
        assert all((made / name).read_bytes() == (before / name).read_bytes() for name in files)
        assert json.loads((made / "ledger.json").read_text())["sent"] == 0
    again = tmp_path / "again.jsonl"
    export_cassette(folders, elsewhere / "responses.sqlite", again)
    assert again.read_bytes() == cassette.read_bytes()
    assert import_cassette(cassette, cache)["new"] == 0


@pytest.mark.usefixtures("no_network")
def test_in_replay_mode_nothing_is_sent_and_what_is_missing_is_named(tmp_path):
    cache, path = tmp_path / "cache", tmp_path / "c.jsonl"
    known = record(path, TEXTS)
    with pytest.raises(UserError, match="--endpoint"):
        import_cassette(path, cache)
    assert import_cassette(path, cache, "fake") == {"new": 3, "known": 0}
    endpoint = Endpoint("fake", "http://127.0.0.1:9/v1", api_key_env="NO_SUCH_KEY", mode="replay")
    replies = complete(known, endpoint=endpoint, cache=cache, label="x")
    assert [(reply.text, reply.cached) for reply in replies] == [(t, True) for t in TEXTS.values()]
    asked = [*known, HELLO, HELLO]
    with pytest.raises(UserError, match=r"1 of 4 requests .*'hello'.*import the cassette"):
        complete(asked, endpoint=endpoint, cache=cache, label="x")
    assert unanswered(asked, endpoint=endpoint, cache=cache) == [HELLO]


def test_what_cannot_be_exported_whole_is_not_exported_and_a_cell_stands_for_its_stages(
    ran, tmp_path
):
    folders, cache = ran
    part, to = tmp_path / "part.sqlite", tmp_path / "c.jsonl"
    some = export_cassette(folders[:1], cache, tmp_path / "part.jsonl")
    import_cassette(tmp_path / "part.jsonl", part)
    for asked, store, complaint in (
        ([tmp_path], cache, "no model was asked"),
        ([tmp_path / "nowhere"], cache, "nowhere: no such folder"),
        (folders, tmp_path / "nothing", "no such response cache"),
        (folders, part, "no answer of 'local' to request"),
    ):
        with pytest.raises(UserError, match=complaint):
            export_cassette(asked, store, to)
    assert not to.exists()
    (tmp_path / "sweep" / "cell").mkdir(parents=True)
    record = {"stages": {str(number): str(folder) for number, folder in enumerate(folders)}}
    (tmp_path / "sweep" / "cell" / "cell.json").write_text(json.dumps(record))
    for at in (tmp_path / "sweep", tmp_path / "sweep" / "cell"):
        assert export_cassette([at], cache, to) == export_cassette(folders, cache, to) > some
