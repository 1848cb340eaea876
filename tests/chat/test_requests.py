"""What identifies a request, and what can be read as a reply."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.chat import ChatModel, ChatRequest, completion_body
from mini_lima.chat.replies import UnreadableError, parse, read_reply

PLAIN = ChatModel("m")
HELLO = PLAIN.request([("user", "hello")])


def test_the_body_holds_what_was_set_and_nothing_else():
    tools = [{"type": "function", "function": {"name": "rank"}}]
    model = ChatModel("m", temperature=1, max_tokens=20, seed=7, extra_body={"tools": tools})
    request = model.request([("system", "be brief"), ("user", "hello")], sample=3)
    assert request.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello"},
        ],
        "temperature": 1.0,
        "max_tokens": 20,
        "seed": 10,  # a repeat with the same seed would bring the same answer
        "tools": tools,
    }
    assert model.identity == {"model": "m", "temperature": 1, "max_tokens": 20} | {
        "seed": 7,
        "tools": tools,
    }


def test_the_key_is_the_documented_hash_so_that_old_recordings_stay_valid():
    text = '{"body":{"messages":[{"content":"olé","role":"user"}],"model":"m"},"sample":0}'
    assert PLAIN.request([("user", "olé")]).key == hashlib.sha256(text.encode()).hexdigest()


def test_everything_that_can_change_the_answer_changes_the_key():
    changes = [{"model": "n"}, {"temperature": 0.0}, {"top_p": 0.0}, {"max_tokens": 1}, {"seed": 0}]
    others = [replace(PLAIN, **change).request([("user", "hello")]) for change in changes]
    said = [[("system", "hello")], [("user", "hello ")], [("user", "hello"), ("user", "hello")]]
    others += [PLAIN.request(messages) for messages in said]
    others.append(PLAIN.request([("user", "hello")], sample=1))
    assert len({HELLO.key, *(each.key for each in others)}) == 1 + len(others)
    whole, decimal = (replace(PLAIN, temperature=one, top_p=one) for one in (1, 1.0))
    assert whole.request([]).key == decimal.request([]).key, "numbers of one value are one request"


@given(st.text(), st.text(), st.integers(0))
def test_different_texts_never_share_a_key_and_a_request_survives_its_file(one, other, sample):
    keys = {PLAIN.request([("user", text)]).key for text in (one, other)}
    assert len(keys) == len({one, other})
    request = PLAIN.request([("user", one)], sample=sample)
    again = ChatRequest(json.loads(json.dumps(request.body)), sample)
    assert (again, again.key) == (request, request.key)


def test_text_parts_log_probabilities_and_the_arguments_of_a_called_function_are_read():
    tokens = [{"token": "m", "logprob": -0.1, "top_logprobs": [{"token": "M", "logprob": -2.0}]}]
    call = {"type": "function", "function": {"name": "rank", "arguments": '{"best": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"message": message, "finish_reason": "tool_calls", "logprobs": {"content": tokens}}
    reply = read_reply("k", {"choices": [choice]}, cached=False)
    assert (reply.text, reply.logprobs) == ('{"best": 1}', tokens)
    parts = [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]
    reply = read_reply("k", {"choices": [{"message": {"content": parts}}]}, cached=False)
    assert reply.text == "in parts"


def nested(levels):
    return "[" * levels + "]" * levels


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(), inner)
            | st.fixed_dictionaries({"choices": st.lists(inner)})
            | st.fixed_dictionaries({"message": inner})
        ),
        max_leaves=12,
    )
)
def test_what_is_no_completion_is_refused_and_never_crashes(document):
    try:
        reply = read_reply("k", document, cached=False)
    except ValueError:
        return
    assert isinstance(reply.text, str)
    json.dumps(reply.usage)


def test_what_would_be_no_better_if_asked_again_is_told_from_what_may_pass():
    for content in (nested(200), nested(100_000), 'data: {"choices": []}\n\n', "<html>", ""):
        with pytest.raises(UnreadableError):
            parse(content)
    assert parse(nested(50))


def test_half_a_surrogate_pair_becomes_a_character_that_files_can_hold():
    content = json.dumps(completion_body("cut \ud83d and whole \U0001f600", model="m"))
    reply = read_reply("k", parse(content), cached=False)
    assert reply.text == "cut \ufffd and whole \U0001f600"
