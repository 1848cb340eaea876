"""Cassettes: what is written is read, and nothing else passes for it."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.chat import (
    CassetteEntry,
    ChatRequest,
    completion_body,
    read_cassette,
    read_entries,
    write_cassette,
)
from mini_lima.errors import UserError

requests = st.builds(
    ChatRequest,
    model=st.sampled_from(["a", "b"]),
    messages=st.lists(st.tuples(st.sampled_from(["system", "user"]), st.text()), max_size=3).map(
        tuple
    ),
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 4096),
    sample=st.integers(0, 3),
)
recordings = st.dictionaries(requests, st.text(), max_size=8)


def entries_of(recording):
    return [
        CassetteEntry(request, completion_body(text, model="m"), request.sample)
        for request, text in recording.items()
    ]


@settings(deadline=None)
@given(recording=recordings, order=st.randoms())
def test_a_recording_survives_the_file_and_equal_recordings_are_equal_files(
    tmp_path_factory, recording, order
):
    folder = tmp_path_factory.mktemp("cassette")
    entries = entries_of(recording)
    write_cassette(folder / "one.jsonl", entries)
    shuffled = entries + entries[:1]
    order.shuffle(shuffled)
    write_cassette(folder / "other.jsonl", shuffled)

    assert (folder / "one.jsonl").read_bytes() == (folder / "other.jsonl").read_bytes()
    read = read_cassette(folder / "one.jsonl")
    texts = {key: body["choices"][0]["message"]["content"] for key, body in read.items()}
    assert texts == {request.key: text for request, text in recording.items()}
    write_cassette(folder / "again.jsonl", read_entries(folder / "one.jsonl"))
    assert (folder / "again.jsonl").read_bytes() == (folder / "one.jsonl").read_bytes()


def test_a_line_is_an_input_and_an_output_line_of_the_batch_interface(tmp_path):
    request = ChatRequest("m", (("user", "hello"),), sample=2)
    answer = completion_body("hi", model="llm")
    write_cassette(tmp_path / "c.jsonl", [CassetteEntry(request, answer, 2)])
    assert json.loads((tmp_path / "c.jsonl").read_text()) == {
        "custom_id": request.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": request.body,
        "sample": 2,
        "response": {"status_code": 200, "request_id": None, "body": answer},
        "error": None,
    }
    assert "usage" not in answer


def test_two_answers_to_one_request_are_not_written(tmp_path):
    body = ChatRequest("m", (("user", "hello"),)).body
    entries = [CassetteEntry(body, completion_body(text, model="m")) for text in ("yes", "no")]
    with pytest.raises(ValueError, match="two different answers"):
        write_cassette(tmp_path / "c.jsonl", entries)
    assert not (tmp_path / "c.jsonl").exists()


def line(**changes):
    request = ChatRequest("m", (("user", "hello"),))
    response = {"status_code": 200, "body": completion_body("hi", model="m")}
    row = {"custom_id": request.key, "body": request.body, "sample": 0, "response": response}
    return json.dumps(row | {"error": None} | changes)


@pytest.mark.parametrize(
    ("bad_line", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"custom_id": "x"}', "no body and no response"),
        (line(body="hello"), "body must be"),
        (line(sample="0"), "sample"),
        (line(sample=1), "changed after it was recorded"),
        (line(body={"model": "m", "messages": []}), "changed after it was recorded"),
        (line(response=None), "failed call"),
        (line(response={"status_code": 500, "body": {}}), "failed call"),
        (line(error={"code": "x"}), "failed call"),
        (line(response={"status_code": 200}), "no chat completion"),
        (line(response={"status_code": 200, "body": {"choices": []}}), "no chat completion"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path, bad_line, complaint):
    path = tmp_path / "c.jsonl"
    path.write_text(f"\n{bad_line}\n")
    with pytest.raises(UserError, match=rf"c\.jsonl:2: .*{complaint}"):
        read_cassette(path)


def test_a_key_that_occurs_twice_is_named_with_both_lines(tmp_path):
    (tmp_path / "c.jsonl").write_text(f"{line()}\n\n{line()}\n")
    with pytest.raises(UserError, match=r"c\.jsonl:3: .* line 1"):
        read_cassette(tmp_path / "c.jsonl")


@pytest.mark.parametrize("contents", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, contents):
    path = tmp_path / "c.jsonl"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(UserError, match=r"c\.jsonl cannot be read"):
        read_cassette(path)


@settings(deadline=None)
@given(st.text(string.printable) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_makes_the_reader_raise_anything_but_its_own_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("cassette") / "c.jsonl"
    path.write_text(text, encoding="utf-8")
    if text.strip():
        with pytest.raises(UserError, match=r"c\.jsonl:\d+: "):
            read_cassette(path)
