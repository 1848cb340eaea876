"""What identifies a request, and what can be read as a reply."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.chat import ChatModel, ChatRequest
from mini_lima.chat.requests import read_reply, request_of

HELLO = ChatRequest("m", (("user", "hello"),))


def test_the_body_holds_what_was_set_and_nothing_else():
    model = ChatModel("m", temperature=1, max_tokens=20)
    request = model.request([("system", "be brief"), ("user", "hello")], sample=3)
    assert request.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello"},
        ],
        "temperature": 1.0,
        "max_tokens": 20,
    }


def test_repeats_of_a_model_with_a_seed_have_seeds_of_their_own():
    model = ChatModel("m", seed=7)
    assert [model.request([], sample=k).body["seed"] for k in range(3)] == [7, 8, 9]


def test_the_key_is_the_documented_hash_so_that_old_recordings_stay_valid():
    text = '{"body":{"messages":[{"content":"olé","role":"user"}],"model":"m"},"sample":0}'
    assert ChatRequest("m", (("user", "olé"),)).key == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        ChatRequest("n", (("user", "hello"),)),
        ChatRequest("m", (("system", "hello"),)),
        ChatRequest("m", (("user", "hello "),)),
        ChatRequest("m", (("user", "hello"), ("user", "hello"))),
        ChatRequest("m", (("user", "hello"),), temperature=0.0),
        ChatRequest("m", (("user", "hello"),), top_p=0.0),
        ChatRequest("m", (("user", "hello"),), max_tokens=1),
        ChatRequest("m", (("user", "hello"),), seed=0),
        ChatRequest("m", (("user", "hello"),), sample=1),
    ],
)
def test_everything_that_can_change_the_answer_changes_the_key(other):
    assert other.key != HELLO.key


def test_whole_and_decimal_numbers_of_one_value_are_one_request():
    whole = ChatRequest("m", (("user", "x"),), temperature=1, top_p=1)
    decimal = ChatRequest("m", (("user", "x"),), temperature=1.0, top_p=1.0)
    assert whole.key == decimal.key


optional_number = st.none() | st.floats(0, 2) | st.integers(0, 2)
json_values = st.none() | st.booleans() | st.text() | st.dictionaries(st.text(), st.integers())


@given(
    st.builds(
        ChatRequest,
        st.text(),
        st.lists(st.tuples(st.text(), st.text())).map(tuple),
        temperature=optional_number,
        top_p=optional_number,
        max_tokens=st.none() | st.integers(0),
        max_completion_tokens=st.none() | st.integers(0),
        seed=st.none() | st.integers(),
        sample=st.integers(0),
        extra=st.dictionaries(st.sampled_from(["logprobs", "tools", "sample"]), json_values),
    )
)
def test_a_request_can_be_read_back_from_its_body(request):
    written = json.loads(json.dumps(request.body))
    again = request_of(written, request.sample)
    assert (again.body, again.key) == (request.body, request.key)


@given(st.text(), st.text())
def test_different_texts_never_share_a_key(one, other):
    keys = {ChatRequest("m", (("user", text),)).key for text in (one, other)}
    assert len(keys) == len({one, other})


def test_a_reply_is_read_from_the_least_a_server_may_send():
    reply = read_reply("k", {"choices": [{"message": {"content": None}}]}, cached=True)
    assert (reply.text, reply.finish_reason, reply.served_model, reply.usage) == (
        "",
        None,
        None,
        None,
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(), inner)
            | st.fixed_dictionaries({"choices": st.lists(inner)})
            | st.fixed_dictionaries({"message": inner})
        ),
    )
)
def test_what_is_no_completion_is_refused_and_never_crashes(document):
    try:
        reply = read_reply("k", document, cached=False)
    except ValueError:
        return
    assert isinstance(reply.text, str)
    json.dumps(reply.usage)


def test_further_parameters_are_sent_and_are_part_of_the_identity():
    tools = [{"type": "function", "function": {"name": "rank"}}]
    plain = ChatModel("m")
    model = ChatModel("m", extra_body={"logprobs": True, "top_logprobs": 5, "tools": tools})
    asked = model.request([("user", "x")])
    assert asked.body["tools"] == tools
    assert asked.key != plain.request([("user", "x")]).key
    assert model.identity != plain.identity
    assert ChatModel("m", extra={}).identity == plain.identity


def test_log_probabilities_and_the_arguments_of_a_called_function_are_read():
    tokens = [{"token": "m", "logprob": -0.1, "top_logprobs": [{"token": "M", "logprob": -2.0}]}]
    call = {"type": "function", "function": {"name": "rank", "arguments": '{"best": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"message": message, "finish_reason": "tool_calls", "logprobs": {"content": tokens}}
    reply = read_reply("k", {"choices": [choice]}, cached=False)
    assert (reply.text, reply.logprobs) == ('{"best": 1}', tokens)
