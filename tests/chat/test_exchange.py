"""Answers travel between caches, cassettes and batches without a change."""

import json

import pytest
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import FakeOpenAI, storm

from mini_lima.chat import (
    Endpoint,
    Ledger,
    Prices,
    complete,
    completion_body,
    export_cassette,
    import_batch,
    import_cassette,
    unanswered,
    write_batch_input,
)
from mini_lima.errors import UserError

TEXTS = ["one {x}", "Grüße 世界\n", "\u2028 \x00", "four"]
LIVE = Endpoint("fake", "http://127.0.0.1:9/v1", max_retries=0)


@pytest.fixture
def answered(cache):
    """The requests, the replies of a live run, and its cache."""
    asked = [*questions(*TEXTS), MODEL.request([("user", "four")], sample=1)]
    with FakeOpenAI(storm(lambda call: call.last_message.swapcase())) as server:
        endpoint = endpoint_of(server, max_retries=14)
        replies = complete(asked, endpoint=endpoint, cache=cache, label="x")
    return asked, replies, cache


def test_what_a_run_used_is_replayed_elsewhere_word_for_word(answered, tmp_path):
    asked, replies, cache = answered
    keys = [reply.request_key for reply in replies]
    path = tmp_path / "run.jsonl"
    assert export_cassette(cache, keys * 2, endpoint=LIVE, path=path) == 5

    recorded = Endpoint("fake", cassette=path)
    again = complete(asked, endpoint=recorded, cache=tmp_path / "other", label="x")
    assert again == replies

    export_cassette(cache, reversed(keys), endpoint=LIVE, path=tmp_path / "again.jsonl")
    elsewhere = tmp_path / "elsewhere"
    assert import_cassette(path, endpoint=LIVE, cache=elsewhere).new == 5
    assert import_cassette(path, endpoint=LIVE, cache=elsewhere).known == 5
    export_cassette(elsewhere, keys, endpoint=LIVE, path=tmp_path / "third.jsonl")
    assert path.read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert path.read_bytes() == (tmp_path / "third.jsonl").read_bytes()


def test_what_was_imported_is_not_asked(answered, tmp_path):
    asked, replies, cache = answered
    export_cassette(cache, [q.key for q in asked], endpoint=LIVE, path=tmp_path / "c.jsonl")
    import_cassette(tmp_path / "c.jsonl", endpoint=LIVE, cache=tmp_path / "new")
    again = complete(asked, endpoint=LIVE, cache=tmp_path / "new", label="x")
    assert [reply.text for reply in again] == [reply.text for reply in replies]


@pytest.mark.parametrize("name", ["fake", "other"])
def test_what_is_not_answered_is_not_exported_in_part(answered, tmp_path, name):
    asked, _, cache = answered
    endpoint = Endpoint(name)
    keys = [request.key for request in [*asked, *questions("not asked")]]
    with pytest.raises(UserError, match=rf"{1 if name == 'fake' else 6} of 6 .*nothing was"):
        export_cassette(cache, keys, endpoint=endpoint, path=tmp_path / "c.jsonl")
    assert not (tmp_path / "c.jsonl").exists()


def test_what_is_still_to_be_sent_is_known_beforehand(answered, tmp_path):
    asked, _, cache = answered
    more = questions("new", "new", "newer")
    assert unanswered([*asked, *more], endpoint=LIVE, cache=cache) == [more[0], more[2]]
    nowhere = tmp_path / "nowhere" / "cache"
    assert unanswered(asked, endpoint=LIVE, cache=nowhere) == asked
    assert not nowhere.parent.exists()
    recorded = Endpoint("fake", cassette=tmp_path / "c.jsonl")
    assert unanswered(more, endpoint=recorded, cache=cache) == []


def batch(tmp_path, asked):
    """An input file, and the lines with which OpenAI would answer it."""
    write_batch_input(tmp_path / "in.jsonl", asked)
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    lines = []
    for line in (tmp_path / "in.jsonl").read_text().split("\n"):
        if line:
            row = json.loads(line)
            text = row["body"]["messages"][-1]["content"].upper()
            body = completion_body(text, model="m-1") | {"usage": usage}
            response = {"status_code": 200, "request_id": "r", "body": body}
            answer = {"id": "b", "custom_id": row["custom_id"], "response": response, "error": None}
            lines.append(answer)
    return lines


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_batch_input_is_openais_and_holds_each_request_once(tmp_path):
    asked = questions("b", "a", "b")
    assert write_batch_input(tmp_path / "in.jsonl", asked) == 2
    first, second = (tmp_path / "in.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        "custom_id": asked[0].key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": asked[0].body,
    }
    assert json.loads(second)["custom_id"] == asked[1].key


def test_the_answers_of_a_batch_find_their_requests_in_any_order(tmp_path, cache):
    asked = [*questions(*TEXTS), MODEL.request([("user", "four")], sample=3)]
    output = write_lines(tmp_path / "out.jsonl", reversed(batch(tmp_path, asked)))
    done = import_batch(output, tmp_path / "in.jsonl", endpoint=LIVE, cache=cache)
    assert (done.new, done.known, done.failed, done.missing) == (5, 0, {}, [])

    ledger, prices = Ledger(), Prices(input=100, output=1000, batch_input=50, batch_output=500)
    replies = complete(asked, endpoint=LIVE, cache=cache, label="x", ledger=ledger, prices=prices)
    assert [reply.text for reply in replies] == [text.upper() for text in [*TEXTS, "four"]]
    assert ledger.value.usd == pytest.approx(5 * (7 * 50e-6 + 5 * 500e-6))
    assert ledger.spent.usd == 0


def test_lines_without_an_answer_are_reported_and_can_be_asked_live(tmp_path, cache):
    asked = questions(*"abcde")
    lines = batch(tmp_path, asked)
    # OpenAI refuses inside the body, expires beside it; vLLM has no body; the last line never came.
    refused = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    lines[1] |= {"response": {"status_code": 400, "request_id": "r", "body": refused}}
    lines[2] |= {"response": None, "error": {"code": "batch_expired", "message": "expired"}}
    lines[3] |= {"response": {"status_code": 200, "body": {"choices": []}}}
    output = write_lines(tmp_path / "out.jsonl", lines[:4])
    done = import_batch(output, tmp_path / "in.jsonl", endpoint=LIVE, cache=cache)
    assert done.new == 1
    reasons = [done.failed[request.key] for request in asked[1:4]]
    assert [
        text in reason
        for text, reason in zip(
            ("status 400: too long", "expired", "no choices"), reasons, strict=True
        )
    ] == [True] * 3
    assert done.missing == [asked[4].key]
    assert unanswered(asked, endpoint=LIVE, cache=cache) == asked[1:]


def test_a_live_answer_is_not_replaced_by_a_batch(answered, tmp_path):
    asked, replies, cache = answered
    output = write_lines(tmp_path / "out.jsonl", batch(tmp_path, asked))
    done = import_batch(output, tmp_path / "in.jsonl", endpoint=LIVE, cache=cache)
    assert (done.new, done.known) == (0, 5)
    again = complete(asked, endpoint=LIVE, cache=cache, label="x")
    assert [reply.text for reply in again] == [reply.text for reply in replies]


@pytest.mark.parametrize(
    ("name", "spoil", "complaint"),
    [
        ("out.jsonl", lambda line: "{", r"out\.jsonl:2: not JSON"),
        ("out.jsonl", lambda line: "[]", r"out\.jsonl:2: not a JSON object"),
        ("out.jsonl", lambda line: '{"custom_id": "x"}', r"out\.jsonl:2: .*'x' is not in"),
        ("out.jsonl", lambda line: '{"custom_id": {}}', r"out\.jsonl:2: .*is not in"),
        ("in.jsonl", lambda line: '{"custom_id": "x"}', r"in\.jsonl:2: no body"),
        ("in.jsonl", lambda line: line.replace("gpt-x", "gpt-y"), r"in\.jsonl:2: .*changed after"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(tmp_path, cache, name, spoil, complaint):
    asked = questions("a", "b")
    write_lines(tmp_path / "out.jsonl", batch(tmp_path, asked))
    first, second = (tmp_path / name).read_text().splitlines()
    (tmp_path / name).write_text(f"{first}\n{spoil(second)}\n")
    with pytest.raises(UserError, match=complaint):
        import_batch(tmp_path / "out.jsonl", tmp_path / "in.jsonl", endpoint=LIVE, cache=cache)
    assert unanswered(asked, endpoint=LIVE, cache=cache) == asked


def test_a_batch_file_that_is_not_there_is_named(tmp_path, cache):
    with pytest.raises(UserError, match=r"none\.jsonl cannot be read"):
        import_batch(tmp_path / "none", tmp_path / "none.jsonl", endpoint=LIVE, cache=cache)
